package console

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
)

func TestParsePlace(t *testing.T) {
	for _, c := range []struct {
		path string
		want place
		ok   bool
	}{
		{"/acme/", place{tenant: "acme"}, true},
		{"/acme@42/", place{tenant: "acme", at: 42}, true},
		{"/acme/keys/", place{tenant: "acme", page: "keys"}, true},
		{"/acme@42/keys/a/b", place{tenant: "acme", at: 42, page: "keys", rest: "a/b"}, true},
		{"/_system/history", place{tenant: "_system", page: "history"}, true},
		{"/acme/commits/42/revert", place{tenant: "acme", page: "commits", rest: "42/revert"}, true},
		{"/acme", place{}, false},
		{"/", place{}, false},
		{"", place{}, false},
		{"//", place{}, false},
		{"/acme//keys", place{}, false},
		{"acme/keys/", place{}, false},
		{"/ACME/", place{}, false},
		{"/acme@/", place{}, false},
		{"/acme@0/", place{}, false},
		{"/acme@042/", place{}, false},
		{"/acme@-1/", place{}, false},
		{"/acme@+1/", place{}, false},
		{"/acme@1@2/", place{}, false},
		{"/acme@18446744073709551616/", place{}, false},
		{"/../etc/", place{}, false},
		{"/-/assets/", place{}, false},
		{"/acme\x00/", place{}, false},
	} {
		got, err := parsePlace(c.path)
		if (err == nil) != c.ok || got != c.want && c.ok {
			t.Errorf("%q: %+v, %v", c.path, got, err)
		}
	}
}

// FuzzParsePlace: what is read from a path is a tenant and a revision that can be, and
// the path that is written of it leads to the same place.
func FuzzParsePlace(f *testing.F) {
	for _, seed := range []string{"/acme/", "/acme@42/keys/a/b", "/acme@0/", "/%41/", "/a@1/keys//", "0//0", "/_system/history"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		p, err := parsePlace(path)
		if err != nil {
			return
		}
		if _, err := ledger.ParseTenant(string(p.tenant)); err != nil {
			t.Fatalf("%q: tenant %q: %v", path, p.tenant, err)
		}
		again, err := parsePlace(p.String())
		if err != nil || again != p {
			t.Fatalf("%q is %+v, and %q is %+v, %v", path, p, p.String(), again, err)
		}
		if u, err := url.Parse(p.root()); err != nil || u.Host != "" || u.Path != p.root() {
			t.Fatalf("%q leads to %q", path, p.root())
		}
	})
}

// FuzzLocalPath: a form never redirects to another site.
func FuzzLocalPath(f *testing.F) {
	for _, seed := range []string{"/acme/", "//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", "", "/acme@2//evil"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got := localPath(path)
		if !strings.HasPrefix(got, "/") || len(got) > 1 && (got[1] == '/' || got[1] == '\\') {
			t.Fatalf("%q leads to %q", path, got)
		}
		if u, err := url.Parse(got); err == nil && (u.Host != "" || u.Scheme != "") {
			t.Fatalf("%q leads to %q at %s", path, got, u.Host)
		}
	})
}
