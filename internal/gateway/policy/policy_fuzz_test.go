package policy

import (
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
)

// A policy that is accepted gives a stranger nothing, and no grant gives more than its prefixes.
func FuzzCheckPolicy(f *testing.F) {
	f.Add("policy/acme/grants", `{"grants":[{"roles":["writer"],"prefixes":["a/"]},{"subjects":["ci-*"],"operations":["read"]}]}`)
	f.Add("policy/acme/limits", `{"requests_per_second":5,"burst":9}`)
	f.Add("policy/acme/reads", `{"record":["a/",""]}`)
	f.Add("policy/acme/attach", `{"tenants":["team-*"]}`)
	f.Add("policy/revoked", `{"revoked":[{"jti":"x"},{"subject":"ann","before":"2026-12-02T10:00:00Z"}]}`)
	f.Fuzz(func(t *testing.T, key, value string) {
		k, err := ledger.ParseKey(key)
		if err != nil {
			return
		}
		v, err := ledger.ParseValue(value)
		if err != nil || checkPolicy(k, v) != nil {
			return
		}
		if _, kind, _ := parsePolicyKey(k); kind != grantsPolicy {
			return
		}
		p, err := NewPreview(value)
		if err != nil {
			t.Fatalf("%s was accepted: %v", value, err)
		}
		stranger := &identity.Principal{Subject: "\x00stranger", Tenant: "acme", Prefixes: []ledger.Pattern{"only/"}}
		for _, op := range Operations {
			if s := p.Scope(stranger, op); s.Key("other/key") {
				t.Errorf("%s allows %s beyond the prefixes of the token", value, op)
			}
		}
	})
}
