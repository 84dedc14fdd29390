// Package policy decides what a caller of a gateway may do: which methods it may call,
// on which keys, how often, and which of its reads are recorded.
//
// A decision needs three things: a Caller (a verified principal and the tenant that it
// acts for), a Method (a row of the table Methods) and the request message. The package
// does not depend on connections. The rules come from the roles and prefixes of the
// caller's token and from the policies of its tenant, which are values of the ledger's
// own tenant: policy/TENANT/grants, policy/TENANT/reads and policy/TENANT/limits.
package policy

import (
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
)

// Caller is who a call comes from, and which tenant it is for.
type Caller struct {
	*identity.Principal
	// Tenant that the call is for: the principal's own, or the one that an operator or a
	// replication token names. Empty for an operator that names none.
	Tenant ledger.Tenant
}

// ActsFor reports whether the caller is an operator who acts for a tenant that is not its own. Its
// calls there are recorded, whatever the tenant's policy.
func (c Caller) ActsFor(t ledger.Tenant) bool {
	return c.Has(identity.Operator) && t != c.Principal.Tenant && t != "" && !t.Reserved()
}

// In is the caller, acting for another tenant.
func (c Caller) In(t ledger.Tenant) Caller { return Caller{c.Principal, t} }
