package appconfig_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/appconfig"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"github.com/stelehq/stele/internal/projector/sinktest"
	"go.uber.org/goleak"
)

const app, env, profile = "stele-acme", "live", "settings"

var epoch = ledger.Epoch{1, 2, 3, 4, 5, 6, 7, 8}

func TestMain(m *testing.M) {
	os.Setenv("AWS_ACCESS_KEY_ID", "fake")
	os.Setenv("AWS_SECRET_ACCESS_KEY", "fake")
	goleak.VerifyTestMain(m)
}

func start(t testing.TB) *fakeaws.Server {
	t.Helper()
	server, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

// settings may have more than where AppConfig is.
func settings(server *fakeaws.Server, e ledger.Epoch, more string) projector.Settings {
	return projector.Settings{Name: "agents", Local: true, Epoch: e, Log: slog.New(slog.DiscardHandler), JSON: fmt.Appendf(nil,
		`{"endpoint": %q, "region": %q, "reads": 100000 %s}`, server.URL, fakeaws.Region, more)}
}

func open(t testing.TB, server *fakeaws.Server, more string) projector.Store {
	t.Helper()
	t.Setenv("AWS_MAX_ATTEMPTS", "1") // or the SDK hides faults, and waits
	s, err := appconfig.Open(t.Context(), settings(server, epoch, more))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.(projector.Store)
}

func write(rev ledger.Revision, key ledger.Key, v ledger.Value) projector.Write {
	return projector.Write{Tenant: "acme", Key: key, Value: v, Revision: rev, Route: &routes.Route{}}
}

func try(t testing.TB, s projector.Store, writes ...projector.Write) []error {
	t.Helper()
	errs, err := s.Write(t.Context(), writes)
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	return errs
}

func must(t testing.TB, s projector.Store, writes ...projector.Write) {
	t.Helper()
	if err := errors.Join(try(t, s, writes...)...); err != nil {
		t.Fatal(err)
	}
}

// edit changes the deployed document by hand, and deploys the result.
func edit(t testing.TB, server *fakeaws.Server, application string, change func(map[string]jsontext.Value)) {
	t.Helper()
	v, ok := server.AppConfig.Deployed(application, env, profile)
	if !ok {
		t.Fatalf("%s has no configuration", application)
	}
	members := make(map[string]jsontext.Value)
	if err := json.Unmarshal(v.Content, &members); err != nil {
		t.Fatal(err)
	}
	change(members)
	content, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	server.AppConfig.Deploy(application, env, profile, content)
}

func TestStore(t *testing.T) {
	for name, more := range map[string]string{"Default": "", "Tags": `, "tags": {"tenant": "{tenant}"}`} {
		t.Run(name, func(t *testing.T) {
			more += `, "max_bytes": 300000` // so that there is something to refuse
			sinktest.Store(t, func(t *testing.T) sinktest.Place {
				server := start(t)
				return sinktest.Place{
					Open: func(ctx context.Context, e ledger.Epoch) (projector.Store, error) {
						s, err := appconfig.Open(ctx, settings(server, e, more))
						if err != nil {
							return nil, err
						}
						return s.(projector.Store), nil
					},
					Fit: func(e ledger.Epoch) (projector.Fit, error) { return appconfig.Fit(settings(server, e, more)) },
					Put: func(t testing.TB, name, text string) {
						application, member, _ := strings.Cut(name, ":")
						edit(t, server, application, func(all map[string]jsontext.Value) {
							quoted, err := json.Marshal(text)
							if err != nil {
								t.Fatal(err)
							}
							all[member] = quoted
						})
					},
					Delete: func(t testing.TB, name string) {
						application, member, _ := strings.Cut(name, ":")
						edit(t, server, application, func(all map[string]jsontext.Value) { delete(all, member) })
					},
					Refused: write(0, "tenantconfig/large", ledger.Value(`"`+strings.Repeat("x", 300000)+`"`)),
				}
			})
		})
	}
}

// An agent gets the keys of the tenant, and a mark that no key can collide with.
func TestDocument_IsWhatAgentsRead(t *testing.T) {
	server := start(t)
	s := open(t, server, `, "strip": "app/", "tags": {"team": "{tenant}s"}`)
	must(t, s, write(41, "app/checkout/timeout_ms", `250`), write(42, "app/ui/theme", `"dark"`), write(42, "app/exact", `9007199254740993`))
	v, ok := server.AppConfig.Deployed(app, env, profile)
	const want = `{
"checkout/timeout_ms": 250,
"exact": 9007199254740993,
"ui/theme": "dark",
"$stele": {"epoch":"0102030405060708","revisions":{"checkout/timeout_ms":41,"exact":42,"ui/theme":42}}
}
`
	if !ok || string(v.Content) != want || v.ContentType != "application/json" || v.Description != "acme@42" {
		t.Errorf("%t, %s %q\n%s", ok, v.ContentType, v.Description, v.Content)
	}
	if n := server.AppConfig.Deployments(app, env); n != 1 {
		t.Errorf("the writes of one call made %d deployments", n)
	}
	if tags := server.AppConfig.Tags(app); tags["team"] != "acmes" {
		t.Errorf("the application has the tags %v", tags)
	}
	if err := try(t, s, write(43, "other/x", `1`))[0]; err == nil || !strings.Contains(err.Error(), "app/") {
		t.Errorf("a key without the common prefix: %v", err)
	}
}

// Settings that are up to date make no deployment: a replay of everything deploys nothing.
func TestWrite_OfWhatIsThereDeploysNothing(t *testing.T) {
	server := start(t)
	s := open(t, server, "")
	all := []projector.Write{write(1, "a", `1`), write(2, "b", `2`), write(3, "c", ``)}
	must(t, s, all...)
	must(t, open(t, server, ""), all...)
	if n := server.AppConfig.Deployments(app, env); n != 1 {
		t.Errorf("there are %d deployments", n)
	}
	// A tenant without live keys gets no application.
	gone := write(1, "a", "")
	gone.Tenant = "globex"
	must(t, s, gone)
	if n := server.Calls("CreateApplication"); n != 1 {
		t.Errorf("%d applications were created", n)
	}
}

func TestSettings(t *testing.T) {
	for text, ok := range map[string]bool{
		`{}`: true, `{"application": "config-{tenant}-prod", "environment": "prod", "profile": "main", "strategy": "abc1234", "max_bytes": 2097152}`: true,
		`{"application": "config"}`: false, `{"application": "{tenant}{tenant}"}`: false, `{"application": "a:{tenant}"}`: false, `{"strip": "?"}`: false,
		`{"max_bytes": 2097153}`: false, `{"max_bytes": -1}`: false, `{"reads": -1}`: false, `{"unknown": 1}`: false,
		`{"environment": "` + strings.Repeat("e", 65) + `"}`: false, `{"tags": {"aws:x": "y"}}`: false,
	} {
		if _, err := appconfig.Fit(projector.Settings{Name: "agents", JSON: []byte(text)}); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}
