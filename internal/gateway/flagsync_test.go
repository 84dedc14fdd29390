package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	syncv1 "github.com/stelehq/stele/schemas/flagd/sync/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func static(v string) string {
	return `{"state":"ENABLED","variants":{"static":` + v + `},"defaultVariant":"static"}`
}

func TestFlagSync_FollowsTheLedger(t *testing.T) {
	f := start(t)
	ctx, cancel := context.WithTimeout(f.as(t, "acme", identity.Writer), time.Minute)
	defer cancel()
	rival := f.as(t, "rival", identity.Writer)
	f.commit(t, rival, set("flags/a", `"rival's"`))
	f.commit(t, ctx, set("flags/a", "true", "flags/web/b", "1", "tenantconfig/c", "2"))
	client := syncv1.NewFlagSyncServiceClient(f.conn)
	all, err := client.SyncFlags(ctx, &syncv1.SyncFlagsRequest{ProviderId: "any"})
	if err != nil {
		t.Fatal(err)
	}
	web, err := client.SyncFlags(metadata.AppendToOutgoingContext(ctx, "flagd-selector", "flags/web"), &syncv1.SyncFlagsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next := func(name string, s grpc.ServerStreamingClient[syncv1.SyncFlagsResponse], want string) {
		t.Helper()
		m, err := s.Recv()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if m.FlagConfiguration != want {
			t.Errorf("%s: %s, want %s", name, m.FlagConfiguration, want)
		}
	}
	next("all", all, `{"flags":{"a":`+static("true")+`,"web/b":`+static("1")+`}}`)
	next("web", web, `{"flags":{"b":`+static("1")+`}}`)
	f.commit(t, ctx, set("tenantconfig/c", "3")) // no flag: nothing is sent
	f.commit(t, ctx, set("flags/web/b", "2"))
	next("all, changed", all, `{"flags":{"a":`+static("true")+`,"web/b":`+static("2")+`}}`)
	next("web, changed", web, `{"flags":{"b":`+static("2")+`}}`)
	f.commit(t, ctx, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "flags/a", Delete: true}}})
	next("all, deleted", all, `{"flags":{"web/b":`+static("2")+`}}`)
	once, err := client.FetchAllFlags(ctx, &syncv1.FetchAllFlagsRequest{Selector: "flags/web/"})
	if err != nil || once.FlagConfiguration != `{"flags":{"b":`+static("2")+`}}` {
		t.Errorf("once: %v, %v", once, err)
	}
	if m, err := client.GetMetadata(ctx, &syncv1.GetMetadataRequest{}); err != nil || m.Metadata != nil {
		t.Errorf("metadata: %v, %v", m, err)
	}
}

func TestFlagSync_OnlyTheCallersKeys(t *testing.T) {
	f := start(t)
	f.commit(t, f.as(t, "acme", identity.Writer), set("flags/web/a", "1", "flags/app/b", "2"))
	bounded := metadata.AppendToOutgoingContext(context.Background(), "authorization",
		"Bearer "+f.token(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}, Prefixes: []ledger.Pattern{"flags/web/"}}))
	client := syncv1.NewFlagSyncServiceClient(f.conn)
	for _, c := range []struct {
		name     string
		ctx      context.Context
		selector string
		want     codes.Code
	}{
		{"its own", bounded, "flags/web", codes.OK},
		{"all", bounded, "", codes.PermissionDenied},
		{"another's", bounded, "flags/app/", codes.PermissionDenied},
		{"no prefix", bounded, "flagSetId=web", codes.InvalidArgument},
		{"no token", context.Background(), "", codes.Unauthenticated},
	} {
		_, err := client.FetchAllFlags(c.ctx, &syncv1.FetchAllFlagsRequest{Selector: c.selector})
		if status.Code(err) != c.want {
			t.Errorf("%s, once: %v, want %s", c.name, err, c.want)
		}
		stream, err := client.SyncFlags(c.ctx, &syncv1.SyncFlagsRequest{Selector: c.selector})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != c.want {
			t.Errorf("%s, followed: %v, want %s", c.name, err, c.want)
		}
	}
}

func TestFlagSync_OmitsSecrets(t *testing.T) {
	f := startSecret(t)
	ctx := f.as(t, "acme", identity.Writer)
	f.commit(t, ctx, set("s/a", `"hidden"`))
	got, err := syncv1.NewFlagSyncServiceClient(f.conn).FetchAllFlags(ctx, &syncv1.FetchAllFlagsRequest{Selector: "s/"})
	if err != nil || got.FlagConfiguration != `{"flags":{}}` {
		t.Errorf("%v, %v", got, err)
	}
}

// TestFlagSync_Provider has OpenFeature's own provider for flagd get its flags
// from a gateway, evaluate them, and see one change.
func TestFlagSync_Provider(t *testing.T) {
	node, err := exec.LookPath("node")
	modules, missing := filepath.Abs(filepath.Join("..", "..", "scripts", "tools", "npm", "node_modules"))
	if _, gone := os.Stat(filepath.Join(modules, "@openfeature", "flagd-provider")); err != nil || missing != nil || gone != nil {
		t.Skip("needs node and OpenFeature's provider for flagd: npm ci --prefix scripts/tools/npm")
	}
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	f.commit(t, ctx, set("flags/checkout/new-flow", "true", "flags/limit", "250", "flags/broken", `{"state":"ON","variants":{}}`,
		"flags/colour", `{"state":"ENABLED","variants":{"red":"#f00","blue":"#00f"},"defaultVariant":"red","targeting":{"if":[{"ends_with":[{"var":"email"},"@example.com"]},"blue",null]}}`,
		"flags/off", `{"state":"DISABLED","variants":{"on":true},"defaultVariant":"on"}`))
	bound, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(bound, node, filepath.Join("flagd", "testdata", "provider.js"))
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules, "STELE_ADDRESS="+f.conn.Target(),
		"STELE_TOKEN="+f.token(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}}))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewScanner(out)
	ask := func(question string) (answer map[string]any) {
		t.Helper()
		if _, err := io.WriteString(in, question+"\n"); err != nil {
			t.Fatal(err)
		}
		if !answers.Scan() {
			t.Fatalf("%s: no answer: %v", question, answers.Err())
		}
		if err := json.Unmarshal(answers.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	for question, want := range map[string]map[string]any{
		`{"flag":"checkout/new-flow","kind":"boolean","default":false}`:                            {"value": true, "variant": "static", "reason": "STATIC"},
		`{"flag":"limit","kind":"number","default":1}`:                                             {"value": 250., "variant": "static", "reason": "STATIC"},
		`{"flag":"colour","kind":"string","default":"","context":{"email":"a@example.com"}}`:       {"value": "#00f", "variant": "blue", "reason": "TARGETING_MATCH"},
		`{"flag":"colour","kind":"string","default":"","context":{"email":"a@elsewhere.example"}}`: {"value": "#f00", "variant": "red", "reason": "DEFAULT"},
		`{"flag":"broken","kind":"boolean","default":true}`:                                        {"value": true, "reason": "ERROR", "errorCode": "FLAG_NOT_FOUND"},
		`{"flag":"nothing","kind":"object","default":{"a":1}}`:                                     {"value": map[string]any{"a": 1.}, "reason": "ERROR", "errorCode": "FLAG_NOT_FOUND"},
	} {
		if d := cmp.Diff(want, ask(question)); d != "" {
			t.Errorf("%s (-want +got):\n%s", question, d)
		}
	}
	if off := ask(`{"flag":"off","kind":"boolean","default":false}`); off["value"] != false {
		t.Errorf("a disabled flag: %v", off)
	}
	f.commit(t, ctx, set("flags/limit", "500"))
	for limit := 250.; limit != 500; {
		limit, _ = ask(`{"flag":"limit","kind":"number","default":1}`)["value"].(float64)
		if bound.Err() != nil {
			t.Fatal("the change was not seen")
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
