package awssdk_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/appconfig"
	"github.com/stelehq/stele/internal/projector/eventbridge"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
	"github.com/stelehq/stele/internal/projector/parameterstore"
	"github.com/stelehq/stele/internal/projector/s3"
	"github.com/stelehq/stele/internal/projector/secretsmanager"
)

func TestMain(m *testing.M) {
	os.Setenv("AWS_MAX_ATTEMPTS", "1")
	os.Exit(m.Run())
}

func start(t *testing.T) *fakeaws.Server {
	t.Helper()
	server, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	for _, setting := range server.Environ() {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	server.Objects.MakeBucket("config", true)
	return server
}

// kinds are the sinks whose requests concern one tenant each, with settings of their own.
var kinds = map[string]struct {
	open projector.Kind
	more string
}{
	"AppConfig":      {appconfig.Open, ``},
	"ParameterStore": {parameterstore.Open, `, "rate": 1000, "reads": 1000`},
	"S3":             {s3.Open, `, "bucket": "config"`},
	"SecretsManager": {secretsmanager.Open, ``},
	"EventBridge":    {eventbridge.Open, ``},
}

func write(t ledger.Tenant, key ledger.Key) projector.Write {
	return projector.Write{Tenant: t, Key: key, Value: `"x"`, Revision: 1, Route: &routes.Route{}}
}

// call writes, reads and scans for two tenants.
func call(ctx context.Context, sink projector.Sink) ([]error, error) {
	var errs []error
	writes := []projector.Write{write("acme", "a"), write("globex", "a"), write("acme", "b")}
	for len(writes) > 0 {
		n := min(len(writes), max(1, sink.Limits().Batch))
		some, err := sink.Write(ctx, writes[:n])
		if err != nil {
			return nil, err
		}
		errs, writes = append(errs, some...), writes[n:]
	}
	store, ok := sink.(projector.Store)
	if !ok {
		return errs, nil
	}
	for _, t := range []ledger.Tenant{"acme", "globex"} {
		name, err := store.Name(t, "a")
		if err != nil {
			return nil, err
		}
		if _, _, err := store.Read(ctx, name); err != nil {
			errs = append(errs, err)
		}
		if err := store.Scan(ctx, t, func(i projector.Item) error { return i.Err }); err != nil {
			errs = append(errs, err)
		}
	}
	return errs, nil
}

// A policy like dynamodb:LeadingKeys with aws:PrincipalTag/tenant: a session may name its
// own tenant alone.
func leading(by fakeaws.Caller, operation string, request []byte) bool {
	for _, tenant := range []string{"acme", "globex"} {
		if strings.Contains(string(request), tenant) && by.Tags["tenant"] != tenant && operation != "AssumeRole" {
			return false
		}
	}
	return true
}

func TestTenantSessions_EachTenantsRequestsCarryItsTag(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			server.SetFaults(fakeaws.Faults{Policy: leading})
			for _, c := range []struct {
				settings string
				allowed  bool
			}{
				{`"role_arn": "arn:aws:iam::210987654321:role/stele"`, false},
				{`"role_arn": "arn:aws:iam::210987654321:role/stele", "external_id": "x", "tenant_sessions": true`, true},
			} {
				sink, err := kind.open(t.Context(), projector.Settings{Name: "sink", Local: true, JSON: fmt.Appendf(nil, "{%s%s}", c.settings, kind.more)})
				if err != nil {
					t.Fatal(err)
				}
				defer sink.Close()
				errs, err := call(t.Context(), sink)
				if err = errors.Join(append(errs, err)...); (err == nil) != c.allowed {
					t.Errorf("%s: %v", c.settings, err)
				}
			}
			want := 3 // one session, and one per tenant
			if name == "S3" {
				want++ // to ask for the bucket's versioning
			}
			if n := server.Calls("AssumeRole"); n != want {
				t.Errorf("roles were assumed %d times, not %d", n, want)
			}
		})
	}
}

// A tenant whose role cannot be assumed keeps no other from being written, and is tried
// again.
func TestRoleOfATenant_DeniedForOne(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			server.SetFaults(fakeaws.Faults{Policy: func(by fakeaws.Caller, operation string, request []byte) bool {
				if operation == "AssumeRole" {
					return !strings.Contains(string(request), "stele-globex")
				}
				return operation == "DescribeEventBus" || by.Role == "arn:aws:iam::210987654321:role/stele-acme"
			}})
			sink, err := kind.open(t.Context(), projector.Settings{Name: "sink", Local: true, JSON: fmt.Appendf(nil, `{"role_arn": "arn:aws:iam::210987654321:role/stele-{tenant}"%s}`, kind.more)})
			if err != nil {
				t.Fatal(err)
			}
			defer sink.Close()
			var errs []error
			for _, w := range []projector.Write{write("acme", "a"), write("globex", "a"), write("acme", "b")} {
				some, err := sink.Write(t.Context(), []projector.Write{w})
				errs = append(errs, errors.Join(append(some, err)...))
			}
			if errs[0] != nil || errs[2] != nil || errs[1] == nil {
				t.Fatalf("%v", errs)
			}
			if _, refused := errors.AsType[*projector.RefusedError](errs[1]); refused || !strings.Contains(errs[1].Error(), "AssumeRole") {
				t.Errorf("%v", errs[1])
			}
		})
	}
}

func TestByTenant(t *testing.T) {
	down := errors.New("down")
	writes := []projector.Write{write("b", "1"), write("a", "1"), write("b", "2"), write("c", "1")}
	var calls []string
	got, err := awssdk.ByTenant(t.Context(), writes, func(_ context.Context, some []projector.Write) ([]error, error) {
		calls = append(calls, fmt.Sprintf("%s%d", some[0].Tenant, len(some)))
		if some[0].Tenant == "a" {
			return nil, down
		}
		return make([]error, len(some)), nil
	})
	if err != nil || fmt.Sprint(calls) != "[b2 a1 c1]" || got[0] != nil || got[1] != down || got[2] != nil || got[3] != nil {
		t.Errorf("%v, %v, %v", calls, got, err)
	}
	if _, err := awssdk.ByTenant(t.Context(), writes, func(context.Context, []projector.Write) ([]error, error) { return nil, down }); !errors.Is(err, down) {
		t.Errorf("all calls fail: %v", err)
	}
}

func TestTags(t *testing.T) {
	g := awssdk.Tags{"tenant": "{tenant}", "team": "a b"}
	if err := g.Check(2); err != nil || g.Query("acme") != "team=a+b&tenant=acme" {
		t.Errorf("%v, %s", err, g.Query("acme"))
	}
	for name, bad := range map[string]awssdk.Tags{
		"many": {"a": "", "b": "", "c": ""}, "ours": {"AWS:x": ""}, "empty": {"": ""}, "long key": {strings.Repeat("k", 129): ""},
		"long value": {"k": strings.Repeat("v", 257)}, "long with a tenant": {"k": strings.Repeat("v", 240) + "{tenant}"}, "characters": {"k": "a;b"},
	} {
		if err := bad.Check(2); err == nil {
			t.Errorf("%s: nothing is wrong with %v", name, bad)
		}
	}
}
