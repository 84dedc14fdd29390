package parameterstore

import (
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"pgregory.net/rapid"
)

func layouts(t testing.TB) []layout {
	t.Helper()
	var all []layout
	for _, n := range []naming{
		{},
		{Layout: "/{tenant}/{path}"},
		{Layout: "/a/{tenant}/b/{path}", Strip: "p_"},
		{Preset: "aws-sample"},
	} {
		l, err := newLayout(n, "eu-central-1")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// Two keys never have the same name, and a name is read as its key.
func TestNames(t *testing.T) {
	all := layouts(t)
	tenant := rapid.Custom(func(t *rapid.T) ledger.Tenant {
		return ledger.Tenant(rapid.StringMatching(`[a-z0-9_][a-z0-9_-]{0,3}`).Draw(t, "tenant"))
	})
	key := rapid.Custom(func(t *rapid.T) ledger.Key {
		k := rapid.StringMatching(`(p_|paramconfig/)?[a-c._-]{1,3}(/[a-b._-]{1,2}){0,13}`).Draw(t, "key")
		if _, err := ledger.ParseKey(k); err != nil {
			return "a"
		}
		return ledger.Key(k)
	})
	rapid.Check(t, func(t *rapid.T) {
		l := rapid.SampledFrom(all).Draw(t, "layout")
		type owner struct {
			tenant ledger.Tenant
			key    ledger.Key
		}
		owners := make(map[string]owner)
		for range 20 {
			o := owner{tenant.Draw(t, "tenant"), key.Draw(t, "key")}
			name, err := l.name(o.tenant, o.key)
			if err != nil {
				continue
			}
			if other, taken := owners[name]; taken && other != o {
				t.Fatalf("%v and %v are both %s", o, other, name)
			}
			owners[name] = o
			gotTenant, gotKey, ok := l.parse(name)
			if !ok || gotTenant != o.tenant || gotKey != o.key {
				t.Fatalf("%v is named %s, which is read as %s of %s, %v", o, name, gotKey, gotTenant, ok)
			}
		}
	})
}

func FuzzParseName(f *testing.F) {
	for _, name := range []string{"/stele/acme/tenantconfig/a", "/acme/x", "/a/acme/b/x", "/config-service/acme/dev/payments/timeout", "/stele/acme/a/..", "", "/stele/acme/a:1"} {
		f.Add(name)
	}
	all := layouts(f)
	f.Fuzz(func(t *testing.T, name string) {
		for _, l := range all {
			tenant, key, ok := l.parse(name)
			if !ok {
				continue
			}
			if _, err := ledger.ParseTenant(string(tenant)); err != nil || !strings.HasPrefix(name, l.base(tenant)) {
				t.Fatalf("%q is read as the tenant %q: %v", name, tenant, err)
			}
			if key == "" {
				continue
			}
			if again, err := l.name(tenant, key); err != nil || again != name {
				t.Fatalf("%q is read as %s of %s, which is named %q, %v", name, key, tenant, again, err)
			}
		}
	})
}
