package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	awsevents "github.com/aws/aws-lambda-go/events"
	"github.com/stelehq/stele/client/refresh"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
)

const secret = "correct-horse-battery"

// event reads an event of testdata, with some of its text replaced.
func event(t *testing.T, name string, replace ...string) awsevents.EventBridgeEvent {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var e awsevents.EventBridgeEvent
	if err := json.Unmarshal([]byte(strings.NewReplacer(replace...).Replace(string(text))), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// newBridge makes a Bridge from an environment, which logs to the test.
func newBridge(t *testing.T, env map[string]string) *Bridge {
	t.Helper()
	cfg, err := FromEnvironment(t.Context(), func(name string) string { return env[name] }, ReadSecret)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	return New(cfg)
}

func targets(t *testing.T, of map[string][]string) map[string]string {
	t.Helper()
	text, err := json.Marshal(of)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{targetsVariable: string(text), secretVariable: secret}
}

// service is notified of changes, by gRPC or as a webhook.
type service struct {
	address string

	mu    sync.Mutex
	heard []refresh.Request
	fail  error
}

func (s *service) refresh(_ context.Context, r refresh.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = append(s.heard, r)
	return s.fail
}

func (s *service) check(t *testing.T, times int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.heard) != times {
		t.Errorf("%s was notified %d times, not %d", s.address, len(s.heard), times)
	}
	for _, r := range s.heard {
		want := refresh.KeyChange{Key: "tenantconfig/checkout/timeout_ms", Revision: 42, CommitID: "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"}
		if r.Tenant != "acme" || len(r.Changes) != 1 || r.Changes[0] != want {
			t.Errorf("%s got %+v", s.address, r)
		}
	}
}

func serveGRPC(t *testing.T, listener net.Listener, mount func(*grpc.Server)) {
	t.Helper()
	server := grpc.NewServer()
	mount(server)
	done := make(chan error)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func grpcService(t *testing.T, address string) *service {
	t.Helper()
	listener := listen(t, address)
	s := &service{address: "grpc://" + listener.Addr().String()}
	serveGRPC(t, listener, func(server *grpc.Server) {
		if err := refresh.Serve(server, []string{secret}, s.refresh); err != nil {
			t.Fatal(err)
		}
	})
	return s
}

func webhookService(t *testing.T) *service {
	t.Helper()
	s := new(service)
	h, err := refresh.Handler([]string{secret}, s.refresh)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	s.address = server.URL
	return s
}

func TestHandle_UnknownEvents(t *testing.T) {
	b := newBridge(t, targets(t, nil))
	for name, e := range map[string]awsevents.EventBridgeEvent{
		"another detail-type":        event(t, "configuration-changed", "Configuration Changed", "Configuration Read"),
		"a parameter change of ours": event(t, "parameter-store-change", "aws.ssm", "stele"),
		"no event":                   {},
	} {
		if err := b.Handle(t.Context(), e); err == nil || !strings.Contains(err.Error(), `"`+e.DetailType+`" of "`+e.Source+`"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, e := range map[string]awsevents.EventBridgeEvent{
		"no tenant": event(t, "configuration-changed", `"tenant": "acme",`, ""),
		"a bad id":  event(t, "configuration-changed", "00112233", "zz"),
	} {
		if err := b.Handle(t.Context(), e); err == nil || !strings.Contains(err.Error(), "read the detail") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFromEnvironment_Rejects(t *testing.T) {
	for name, tc := range map[string]struct {
		env  map[string]string
		want string
	}{
		"nothing":              {nil, "or both"},
		"targets, no secret":   {map[string]string{targetsVariable: `{}`}, secretVariable},
		"not JSON":             {map[string]string{targetsVariable: `grpc://a:1`, secretVariable: secret}, "write {"},
		"an unknown scheme":    {targets(t, map[string][]string{"": {"ftp://a"}}), "use grpc://"},
		"no scheme":            {targets(t, map[string][]string{"": {"a:1"}}), "names no host"},
		"gRPC without a port":  {targets(t, map[string][]string{"": {"grpc://a"}}), "no port"},
		"gRPC with a path":     {targets(t, map[string][]string{"": {"grpc://a:1/b"}}), "a path"},
		"http":                 {targets(t, map[string][]string{"": {"http://a.example"}}), "use https"},
		"a password":           {targets(t, map[string][]string{"": {"https://u:p@a.example"}}), secretVariable},
		"a gateway, no token":  {map[string]string{addressVariable: "a:1"}, tokenVariable},
		"a gateway, no port":   {map[string]string{addressVariable: "a", tokenVariable: "t"}, "host:port"},
		"a secret not to read": {map[string]string{targetsVariable: `{}`, secretVariable + idSuffix: "stele/refresh"}, "STELE_REFRESH_SECRET_ID: read the secret stele/refresh: access denied"},
		"a token not to read":  {map[string]string{addressVariable: "a:1", tokenVariable + idSuffix: "/stele/token"}, "STELE_TOKEN_ID: read the secret /stele/token: access denied"},
		"a target and nothing": {targets(t, map[string][]string{"": {""}}), "names no host"},
	} {
		_, err := FromEnvironment(t.Context(), func(name string) string { return tc.env[name] }, func(context.Context, string) (string, error) {
			return "", errors.New("access denied")
		})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// The function's template sets the variables that are read, and no others.
func TestTemplate_SetsEveryVariable(t *testing.T) {
	text, err := os.ReadFile("../../../../scripts/deploy/aws/template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var template struct {
		Resources struct {
			Function struct {
				Properties struct {
					Environment struct {
						Variables map[string]any `yaml:"Variables"`
					} `yaml:"Environment"`
				} `yaml:"Properties"`
			} `yaml:"Function"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(text, &template); err != nil {
		t.Fatal(err)
	}
	read := make(map[string]bool)
	env := map[string]string{targetsVariable: "{}", secretVariable + idSuffix: "the secret", addressVariable: "gateway:443", tokenVariable + idSuffix: "the token"}
	getenv := func(name string) string { read[name] = true; return env[name] }
	cfg, err := FromEnvironment(t.Context(), getenv, func(_ context.Context, id string) (string, error) { return "value of " + id + "\n", nil })
	if err != nil {
		t.Fatal(err)
	}
	if cfg.secret != "value of the secret" || cfg.gateway.token != "value of the token" {
		t.Errorf("the secrets are %q and %q", cfg.secret, cfg.gateway.token)
	}
	got := slices.Sorted(maps.Keys(template.Resources.Function.Properties.Environment.Variables))
	if want := slices.Sorted(maps.Keys(read)); !slices.Equal(got, want) {
		t.Errorf("the template sets %v, not %v", got, want)
	}
}
