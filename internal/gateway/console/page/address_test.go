package page

import (
	"net/url"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
)

func TestParseAddress(t *testing.T) {
	for _, c := range []struct {
		path string
		want Address
		ok   bool
	}{
		{"/acme/", Address{Tenant: "acme"}, true},
		{"/acme@42/", Address{Tenant: "acme", At: 42}, true},
		{"/acme/keys/", Address{Tenant: "acme", Page: "keys"}, true},
		{"/acme@42/keys/a/b", Address{Tenant: "acme", At: 42, Page: "keys", Rest: "a/b"}, true},
		{"/_system/history", Address{Tenant: "_system", Page: "history"}, true},
		{"/acme/commits/42/revert", Address{Tenant: "acme", Page: "commits", Rest: "42/revert"}, true},
		{"/acme", Address{}, false},
		{"/", Address{}, false},
		{"", Address{}, false},
		{"//", Address{}, false},
		{"/acme//keys", Address{}, false},
		{"acme/keys/", Address{}, false},
		{"/ACME/", Address{}, false},
		{"/acme@/", Address{}, false},
		{"/acme@0/", Address{}, false},
		{"/acme@042/", Address{}, false},
		{"/acme@-1/", Address{}, false},
		{"/acme@+1/", Address{}, false},
		{"/acme@1@2/", Address{}, false},
		{"/acme@18446744073709551616/", Address{}, false},
		{"/../etc/", Address{}, false},
		{"/-/assets/", Address{}, false},
		{"/acme\x00/", Address{}, false},
	} {
		got, err := ParseAddress(c.path)
		if (err == nil) != c.ok || got != c.want && c.ok {
			t.Errorf("%q: %+v, %v", c.path, got, err)
		}
	}
}

// FuzzParseAddress: a parsed address has a valid tenant and revision, and its path
// parses to the same address.
func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{"/acme/", "/acme@42/keys/a/b", "/acme@0/", "/%41/", "/a@1/keys//", "0//0", "/_system/history"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		p, err := ParseAddress(path)
		if err != nil {
			return
		}
		if _, err := ledger.ParseTenant(string(p.Tenant)); err != nil {
			t.Fatalf("%q: tenant %q: %v", path, p.Tenant, err)
		}
		again, err := ParseAddress(p.String())
		if err != nil || again != p {
			t.Fatalf("%q is %+v, and %q is %+v, %v", path, p, p.String(), again, err)
		}
		if u, err := url.Parse(p.Root()); err != nil || u.Host != "" || u.Path != p.Root() {
			t.Fatalf("%q leads to %q", path, p.Root())
		}
	})
}
