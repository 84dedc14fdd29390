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
