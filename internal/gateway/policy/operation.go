package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
)

// Operation is a permission on keys.
type Operation string

const (
	ToRead       Operation = "read"
	ToWrite      Operation = "write"
	ToAudit      Operation = "audit"      // list recorded reads
	ToAdminister Operation = "administer" // import, and decide about sinks
	ToReveal     Operation = "reveal"     // read secrets
	ToReplicate  Operation = "replicate"  // copy whole commits to an edge gateway
)

// Operations lists all operations.
var Operations = []Operation{ToRead, ToWrite, ToAudit, ToAdminister, ToReveal, ToReplicate}

func parseOperation(s string) (Operation, error) {
	if op := Operation(s); slices.Contains(Operations, op) {
		return op, nil
	}
	return "", fmt.Errorf("unknown operation %q: the operations are %q", s, Operations)
}

// rolesWith are the roles that give an operation. Operators act for tenants, and need
// not see their secrets.
var rolesWith = map[Operation][]identity.Role{
	ToRead:       {identity.Reader, identity.Auditor, identity.Writer, identity.Admin, identity.Operator},
	ToWrite:      {identity.Writer, identity.Admin, identity.Operator},
	ToAudit:      {identity.Auditor, identity.Admin, identity.Operator},
	ToAdminister: {identity.Admin, identity.Operator},
	ToReveal:     {identity.Revealer, identity.Admin},
	ToReplicate:  {identity.Operator}, // and tokens that name the tenant; see MayReplicate
}

// Scope returns the scope in which the caller may perform an operation, within the prefixes
// of its token. The tenant's grants determine it; without grants, and for operators, the roles
// do.
//
// Errors: ErrDenied if the grants are invalid; ledger.ErrUnavailable while the replica
// does not hold them.
func (e *Enforcer) Scope(c Caller, op Operation) (Scope, error) {
	s, err := e.granted(c, op)
	if err != nil {
		return nil, err
	}
	return s.Within(c.Prefixes), nil
}

func (e *Enforcer) granted(c Caller, op Operation) (Scope, error) {
	policy, bound, err := e.grantsFor(c)
	switch {
	case err != nil:
		return nil, err
	case op == ToReplicate && !c.Has(identity.Operator) && !c.MayReplicate(c.Tenant):
		return nil, nil // no grant gives it to a token that does not name the tenant
	case op != ToReplicate && c.Tenant != c.Principal.Tenant && !c.Has(identity.Operator):
		return nil, nil // a token that names tenants to replicate has no roles in them
	case op == ToReplicate && !bound:
		return everywhere, nil
	}
	return scopeOf(policy, bound, c.Principal, op), nil
}

// scopeOf is the scope in which a principal may perform an operation, by the grants that bind
// it or, without grants, by its roles.
func scopeOf(gs grants, bound bool, p *identity.Principal, op Operation) Scope {
	switch {
	case bound:
		return gs.scope(p, op)
	case slices.ContainsFunc(rolesWith[op], p.Has):
		return everywhere
	}
	return nil
}

// OperationsOf are the operations that a role gives.
func OperationsOf(r identity.Role) (out []Operation) {
	for _, op := range Operations {
		if slices.Contains(rolesWith[op], r) {
			out = append(out, op)
		}
	}
	return out
}

// grantsFor are the grants that bind the caller, if any do.
func (e *Enforcer) grantsFor(c Caller) (policy grants, bound bool, err error) {
	if c.Has(identity.Operator) {
		return nil, false, nil
	}
	set, err := e.current()
	if err != nil {
		return nil, false, err
	}
	policy, bound = set.grants[c.Tenant]
	if bound && policy == nil {
		return nil, true, Denied("the grants of %s are invalid; an operator must fix %s in tenant %s", c.Tenant, grantsPolicy.key(c.Tenant), ledger.System)
	}
	return policy, bound, nil
}

// Scopes returns the caller's scope for each of the Operations, in their order.
func (e *Enforcer) Scopes(c Caller) ([]Scope, error) {
	all := make([]Scope, len(Operations))
	for i, op := range Operations {
		var err error
		if all[i], err = e.Scope(c, op); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// May is nil if the caller may perform an operation on some key.
func (e *Enforcer) May(c Caller, op Operation) error {
	s, err := e.Scope(c, op)
	if err != nil || len(s) > 0 {
		return err
	}
	_, bound, err := e.grantsFor(c)
	switch {
	case err != nil:
		return err
	case op == ToReplicate && !c.MayReplicate(c.Tenant):
		return Denied("the token of %s does not name %s among the tenants to replicate", c.Subject, c.Tenant)
	case op != ToReplicate && c.Tenant != c.Principal.Tenant && !c.Has(identity.Operator):
		return Denied("the token of %s allows only the replication of %s: its roles are for its own tenant", c.Subject, c.Tenant)
	case !slices.ContainsFunc(rolesWith[op], c.Has) && !bound:
		return Denied("to %s needs the role %s; the roles of %s in %s are %s", op, orList(rolesWith[op]), c.Subject, c.Tenant, rolesOf(c))
	case c.Prefixes != nil:
		return Denied("nothing allows %s to %s in %s under the token's prefixes, %s; its roles are %s", c.Subject, op, c.Tenant, quoted(c.Prefixes), rolesOf(c))
	}
	return Denied("no grant of %s allows %s to %s there; its roles are %s", c.Tenant, c.Subject, op, rolesOf(c))
}

// MayOn is nil if the caller may perform an operation on the key, or on all keys under the
// prefix. It reads no key, so the answer does not depend on whether one is set.
func (e *Enforcer) MayOn(c Caller, op Operation, what string) error {
	s, err := e.Scope(c, op)
	switch {
	case err != nil:
		return err
	case s.Prefix(what):
		return nil
	case len(s) == 0:
		return e.May(c, op)
	}
	if what == "" {
		what = "everything"
	}
	return Denied("%s may not %s %s in %s, only keys under %s", c.Subject, op, what, c.Tenant, quoted(s))
}

// Explain returns why MayOn allows an operation: a sentence, and the text of the grant that
// allows it, if a grant does.
func (e *Enforcer) Explain(c Caller, op Operation, what string) (reason, grant string, err error) {
	policy, _, err := e.grantsFor(c)
	if by := policy.one(c.Principal, op, what); by != nil {
		return fmt.Sprintf("%s has a grant in %s", c.Subject, c.Tenant), by.text, err
	}
	return fmt.Sprintf("the roles of %s are %s", c.Subject, rolesOf(c)), "", err
}

// orList joins words: a, b or c.
func orList[T ~string](words []T) string { return joined(words, " or ") }

// rolesOf names a caller's roles.
func rolesOf(c Caller) string {
	if len(c.Roles) == 0 {
		return "none"
	}
	return joined(c.Roles, " and ")
}

func joined[T ~string](words []T, last string) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i > 0 && i == len(words)-1:
			b.WriteString(last)
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}

func quoted(s Scope) string {
	const most = 10 // to bound the answer
	var words []string
	for _, p := range s[:min(len(s), most)] {
		words = append(words, fmt.Sprintf("%q", p))
	}
	if len(s) > most {
		words = append(words, fmt.Sprintf("%d more", len(s)-most))
	}
	return orList(words)
}
