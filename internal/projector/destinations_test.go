package projector_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
)

func TestSettings_Endpoint(t *testing.T) {
	flags := []string{"http://127.0.0.1:8000", "https://vpce-1.dynamodb.eu-west-1.vpce.amazonaws.com"}
	for _, tc := range []struct {
		endpoint   string
		allowed    []string
		local      bool
		plaintext  bool
		wantInside string // of the error; empty for none
	}{
		{endpoint: ""},
		{endpoint: "http://127.0.0.1:8000", allowed: flags},
		{endpoint: "http://127.0.0.1:8000/", allowed: flags},
		{endpoint: "HTTPS://VPCE-1.dynamodb.eu-west-1.vpce.amazonaws.com", allowed: flags},
		{endpoint: "http://127.0.0.1:8000", local: true},
		{endpoint: "http://[::1]:8000", local: true},
		{endpoint: "http://dynamodb:8000", local: true, plaintext: true},
		{endpoint: "http://127.0.0.1:8000", wantInside: "--sink-endpoints http://127.0.0.1:8000"},
		{endpoint: "https://collector.example", wantInside: "is not allowed by this process"},
		{endpoint: "https://collector.example", allowed: flags, wantInside: "is not allowed by this process"},
		{endpoint: "http://127.0.0.1:8001", allowed: flags, wantInside: "is not allowed by this process"},
		{endpoint: "http://127.0.0.1:8000@collector.example", allowed: flags, wantInside: "use a URL"},
		{endpoint: "https://x:y@vpce-1.dynamodb.eu-west-1.vpce.amazonaws.com", allowed: flags, wantInside: "use a URL"},
		{endpoint: "https://vpce-1.dynamodb.eu-west-1.vpce.amazonaws.com.collector.example", allowed: flags, wantInside: "is not allowed by this process"},
		{endpoint: "http://collector.example", allowed: []string{"http://collector.example"}, wantInside: "use https"},
		{endpoint: "http://dynamodb:8000", local: true, wantInside: "use https"},
		{endpoint: "http://127.0.0.1.collector.example", local: true, wantInside: "use https"},
		{endpoint: "file:///etc/passwd", local: true, wantInside: "use a URL"},
		{endpoint: "gopher://127.0.0.1:70", local: true, wantInside: "use https"},
	} {
		s := projector.Settings{Name: "s", Local: tc.local, Destinations: projector.Destinations{Endpoints: tc.allowed, Plaintext: tc.plaintext}}
		switch err := s.Endpoint(tc.endpoint); {
		case tc.wantInside == "" && err != nil:
			t.Errorf("%q: %v", tc.endpoint, err)
		case tc.wantInside != "" && (err == nil || !strings.Contains(err.Error(), tc.wantInside)):
			t.Errorf("%q: %v, want %q", tc.endpoint, err, tc.wantInside)
		}
	}
}

func TestSettings_Directory(t *testing.T) {
	dir, allowed, other := t.TempDir(), t.TempDir(), t.TempDir()
	for link, to := range map[string]string{
		filepath.Join(dir, "out"): other, filepath.Join(allowed, "out"): other, filepath.Join(allowed, "broken"): filepath.Join(other, "none"),
	} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		path  string
		local bool
		ok    bool
	}{
		{path: "files", ok: true},
		{path: "a/../files", ok: true},
		{path: allowed, ok: true},
		{path: allowed + "/a/b", ok: true},
		{path: other, local: true, ok: true},
		{path: "/"},
		{path: "/etc"},
		{path: ""},
		{path: "../x"},
		{path: "../../x"},
		{path: "a/../../x"},
		{path: "../x", local: true},
		{path: other},
		{path: allowed + "x"},
		{path: allowed + "/../x"},
		{path: "out"},
		{path: "out/a"},
		{path: allowed + "/out/a"},
		{path: allowed + "/broken"},
	} {
		s := projector.Settings{Name: "s", Dir: dir, Local: tc.local, Destinations: projector.Destinations{Directories: []string{allowed}}}
		if got, err := s.Directory(tc.path); (err == nil) != tc.ok {
			t.Errorf("%q: %q, %v", tc.path, got, err)
		}
	}
}

func TestDestinations_Validate(t *testing.T) {
	for _, d := range []projector.Destinations{
		{Endpoints: []string{"http://collector.example"}}, {Endpoints: []string{"collector.example"}},
		{Directories: []string{"/"}}, {Directories: []string{"/srv/.."}}, {Directories: []string{"srv"}},
	} {
		if err := d.Validate(); err == nil {
			t.Errorf("%+v is accepted", d)
		}
	}
	ok := projector.Destinations{Endpoints: []string{"http://localhost:1", "https://a.example"}, Directories: []string{"/srv/config"}}
	if err := ok.Validate(); err != nil {
		t.Error(err)
	}
}

// A secret goes to a store only if the process's own configuration says so, whatever
// the ledger's routes say. Otherwise the key is parked, and the item that an earlier run
// has written stays.
func TestDestinations_Secrets(t *testing.T) {
	const settings = `{"rate": 5}`
	own, err := routes.Parse([]byte(secretRoutes))
	if err != nil {
		t.Fatal(err)
	}
	changed, err := routes.Parse([]byte(strings.Replace(secretRoutes, `"store":{}`, `"store":`+settings, 1)))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		to   projector.Destinations
		ok   bool
	}{
		{"nothing", projector.Destinations{}, false},
		{"another sink", projector.Destinations{Secrets: []string{"bus"}}, false},
		{"the name", projector.Destinations{Secrets: []string{"store"}}, true},
		{"own routes", projector.Destinations{Local: own}, true},
		{"own routes with other settings", projector.Destinations{Local: changed}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, secretRoutes)
			w.withSecrets()
			w.destinations = tc.to
			w.store.keeps = true
			w.start(w.node, true)
			w.commit("acme", map[ledger.Key]string{"kept/a": `"canary"`, "open/a": `"shown"`})
			until(t, func() bool { return w.store.values()["acme:open/a"] == `"shown"` }, func() string { return "the store" })
			if tc.ok {
				until(t, func() bool { return w.store.values()["acme:kept/a"] == `"canary"` }, func() string { return "the secret" })
				return
			}
			until(t, func() bool { return len(w.parked("store", "acme")) == 1 }, func() string { return "the parked key" })
			if l := w.parked("store", "acme")[0]; !strings.Contains(l.Reason, "--sink-secrets store") {
				t.Errorf("parked with %q", l.Reason)
			}
			if v, set := w.store.values()["acme:kept/a"]; set {
				t.Errorf("the store got %s", v)
			}
		})
	}
}

func TestSettings_Role(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/stele"
	for _, tc := range []struct {
		role    string
		allowed []string
		local   bool
		want    bool
	}{
		{role: "", want: true},
		{role: role},
		{role: role, allowed: []string{role}, want: true},
		{role: role + "-{tenant}", allowed: []string{role}},
		{role: role, local: true, want: true},
	} {
		s := projector.Settings{Name: "s", Local: tc.local, Destinations: projector.Destinations{Roles: tc.allowed}}
		if err := s.Role(tc.role); (err == nil) != tc.want {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}
