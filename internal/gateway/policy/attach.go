package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/strictjson"
)

// subjects are names of subjects or tenants. A "*" at the end of a name stands for any
// ending.
type subjects []string

func (s subjects) match(name string) bool {
	return slices.ContainsFunc(s, func(pattern string) bool {
		if start, any := strings.CutSuffix(pattern, "*"); any {
			return strings.HasPrefix(name, start)
		}
		return name == pattern
	})
}

// parseAttachPolicy reads the tenants that may make a tenant one of their bases, the value of
// policy/<base>/attach:
//
//	{"tenants":["acme","team-*"]}
func parseAttachPolicy(value ledger.Value) (subjects, error) {
	var policy struct {
		Tenants names `json:"tenants"`
	}
	if err := strictjson.Unmarshal([]byte(value), &policy, `it must be an object with "tenants"`); err != nil {
		return nil, err
	}
	if policy.Tenants == nil {
		return nil, errors.New(`it has no "tenants"`)
	}
	for _, name := range policy.Tenants {
		if start, any := strings.CutSuffix(name, "*"); any && start == "" {
			continue
		} else if _, err := ledger.ParseTenant(start); err != nil {
			return nil, fmt.Errorf("tenants: %w", err)
		}
	}
	return subjects(policy.Tenants), nil
}

// Attaches implements ledger.Viewer.
func (v *Viewer) Attaches(t, base ledger.Tenant) bool {
	may, err := v.e.MayAttach(v.c, t, base)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err = errors.Join(v.err, err)
	return may
}

// MayAttach reports whether the caller may make base a base of t: operators may, and others if
// the policy of the base names t.
func (e *Enforcer) MayAttach(c Caller, t, base ledger.Tenant) (bool, error) {
	if c.Has(identity.Operator) {
		return true, nil
	}
	set, err := e.current()
	if err != nil {
		return false, err
	}
	return set.attach[base].match(string(t)), nil
}
