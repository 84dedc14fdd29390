package policy

import (
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
)

// Preview is what a tenant's grants allow, for a look at it before they are set.
type Preview struct {
	grants grants
	bound  bool
}

// NewPreview reads grants as the policy has them; empty for a tenant without any.
func NewPreview(document string) (Preview, error) {
	if document == "" {
		return Preview{}, nil
	}
	gs, err := parseGrants(ledger.Value(document))
	return Preview{gs, true}, err
}

// Scope is where a caller could do something.
func (p Preview) Scope(caller *identity.Principal, op Operation) Scope {
	return scopeOf(p.grants, p.bound, caller, op).Within(caller.Prefixes)
}
