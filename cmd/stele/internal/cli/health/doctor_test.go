package health

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/contexts"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

// With a token of Amazon Cognito, the check of the token looks whether users can write the
// attributes that decide what they may do.
func TestCheckToken_UserPool(t *testing.T) {
	server, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	for _, setting := range server.Environ() {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	server.UserPools.SetClient("eu-central-1_Pool", "safe", "email")
	server.UserPools.SetClient("eu-central-1_Pool", "open", "email", "custom:role")
	file := filepath.Join(t.TempDir(), "token")
	for claims, want := range map[string]string{
		`"iss":"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Pool","aud":"open"`:       "users can write custom:role, so",
		`"iss":"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Pool","client_id":"open"`: "users can write custom:role, so",
		`"iss":"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Pool","aud":"safe"`:       "users cannot change their tenant or role",
		`"iss":"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Pool","aud":"other"`:      "could not check",
		`"iss":"stele-local","aud":"open"`: "",
	} {
		payload := fmt.Sprintf(`{"sub":"ann","exp":%d,%s}`, time.Now().Add(time.Hour).Unix(), claims)
		if err := os.WriteFile(file, []byte("e30."+base64.RawURLEncoding.EncodeToString([]byte(payload))+".c2ln"), 0o600); err != nil {
			t.Fatal(err)
		}
		found, _, err := checkToken(t.Context(), &subject{settings: contexts.Settings{TokenFile: file}})
		if got := fmt.Sprint(found, err); !strings.Contains(got, want) || want == "" && strings.Contains(got, "users") {
			t.Errorf("%s: %s, want %q", claims, got, want)
		}
	}
}

// An edge that works has no problem: it never accepts writes. One that lost its upstream
// says why.
func TestDoctor_Edge(t *testing.T) {
	status := &stelev1.GetStatusResponse{
		ReadOnly:  "this gateway is an edge",
		Journal:   &stelev1.JournalStatus{Age: durationpb.New(time.Second)},
		Upstreams: []*stelev1.UpstreamStatus{{Address: "core:7070", Following: true}},
	}
	edge := &subject{status: status}
	found, _, err := checkWrites(t.Context(), edge)
	if err != nil || !strings.Contains(found, "write to its upstream core:7070") {
		t.Errorf("writes: %q, %v", found, err)
	}
	if _, _, err := checkReplica(t.Context(), edge); err != nil {
		t.Errorf("replica: %v", err)
	}
	status.Journal.Age = durationpb.New(time.Minute)
	status.Upstreams[0] = &stelev1.UpstreamStatus{Address: "core:7070", Error: "the edge's history is not the upstream's"}
	const want = "it was last known to be current 1m0s ago; upstream core:7070: the edge's history is not the upstream's"
	if _, _, err := checkReplica(t.Context(), edge); err == nil || err.Error() != want {
		t.Errorf("replica: %v, want %s", err, want)
	}
}

func TestCheckTenant_OperatorChoosesNone(t *testing.T) {
	operator := &subject{status: &stelev1.GetStatusResponse{Principal: &stelev1.Principal{Roles: []string{"operator"}}}}
	if found, _, err := checkTenant(t.Context(), operator); err != nil || !strings.Contains(found, "-t TENANT") {
		t.Errorf("%q, %v", found, err)
	}
}
