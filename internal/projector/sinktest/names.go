package sinktest

import (
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
)

// hostile are keys whose names a store may mistake for each other's or for its own.
var hostile = []ledger.Key{
	"a", "A", "a/b", "a.b", "a-b", "a_b", "a/B", "a/b/c", "a/b.c", "a.b/c", "a_b/c", "a-b-c", "a--b", "a__b", "a..b",
	"-", "_", "--", "__", "-a", "_a", ".a", "a.", "a-", "...", "a/...", "a/.b", ".../a", "-/-", "_/_", "0", "00", "0/0",
	".stele", ".stele.json", "..data", "..data/a", "..2026", "current", "con", "nul.txt", "pk", "sk", "rev", "value", "CONFIG", "TENANT", "META",
	"aws/a", "AWS/a", "aws", "ssm/a", "ssm", "SSM.a", "acme", "acme/a", "acme/acme", "tenant_config_payment", "param_config_a", "tenantconfig/a",
	"a/b/c/d/e/f/g/h/i/j/k/l", "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t",
	ledger.Key(strings.Repeat("k", 255)), ledger.Key(strings.Repeat("k", 256)), ledger.Key(strings.Repeat("k", ledger.MaxKey)),
	ledger.Key(strings.Repeat("k/", ledger.MaxKey/2-1) + "kk"),
}

// names checks that each key that the store can hold has a name of its own, and
// that the item of that name is the key's.
func names(t *testing.T, s *stand) {
	type owner struct {
		tenant ledger.Tenant
		key    ledger.Key
	}
	owners := make(map[string]owner)
	held := 0
	for _, tenant := range []ledger.Tenant{acme, "acme-a", "acme_a", "a", "_a"} {
		for i, k := range hostile {
			if _, err := ledger.ParseKey(string(k)); err != nil {
				t.Fatal(err)
			}
			n, err := s.store.Name(tenant, k)
			if err != nil {
				s.asRefused(err, string(k))
				continue
			}
			if o, taken := owners[n]; taken {
				t.Errorf("%s of %s and %s of %s are both named %s", k, tenant, o.key, o.tenant, n)
			}
			owners[n] = owner{tenant, k}
			if tenant != acme {
				continue
			}
			w := write(ledger.Revision(2*i+1), k, `"x"`)
			if err := s.try(w)[0]; err != nil {
				s.asRefused(err, string(k))
				continue
			}
			held++
			s.holds(w)
			w.Revision, w.Value = w.Revision+1, ""
			s.must(w) // so that it is in no other key's way
			s.holds(w)
		}
	}
	if held < len(hostile)/2 {
		t.Errorf("the store holds %d of %d keys", held, len(hostile))
	}
	if _, ok, err := s.store.Read(t.Context(), ""); ok {
		t.Error("an item without a name is there")
	} else {
		s.asRefused(err, "the empty name")
	}
}
