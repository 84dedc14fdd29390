package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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

// attachRecordTimeout bounds how long a change set waits for the record of an attachment.
const attachRecordTimeout = 5 * time.Second

// Attaches implements ledger.Viewer. All values of a base, also its secrets, can be read in the
// tenants that inherit them. So the attachment itself is recorded as such a read of the base,
// whatever its policy, before the change set is written: the base has no other record of it.
func (v *Viewer) Attaches(ctx context.Context, t, base ledger.Tenant) bool {
	may, err := v.e.MayAttach(v.c, t, base)
	if may && err == nil {
		ctx, cancel := context.WithTimeout(ctx, attachRecordTimeout)
		defer cancel()
		err = v.e.Record(ctx, v.c, v.m, base, Asked{Prefixes: []string{""}, Revealed: true}, 0)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err = errors.Join(v.err, err)
	return may && err == nil
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
