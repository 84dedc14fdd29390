package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stelehq/stele/gateway/identity"
	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// operation is what a caller may do on keys.
type operation string

const (
	toRead       operation = "read"
	toWrite      operation = "write"
	toAudit      operation = "audit"      // see who has read what
	toAdminister operation = "administer" // import, and decide about sinks
	toReveal     operation = "reveal"     // read what is secret
	toReplicate  operation = "replicate"  // copy the tenant's commits to an edge gateway
)

var operations = []operation{toRead, toWrite, toAudit, toAdminister, toReveal, toReplicate}

func parseOperation(s string) (operation, error) {
	if op := operation(s); slices.Contains(operations, op) {
		return op, nil
	}
	return "", fmt.Errorf("operation %q is none of %q", s, operations)
}

// rolesWith are the roles that give an operation. Operators act for tenants, and
// need not see what these keep secret.
var rolesWith = map[operation][]identity.Role{
	toRead:       {identity.Reader, identity.Auditor, identity.Writer, identity.Admin, identity.Operator},
	toWrite:      {identity.Writer, identity.Admin, identity.Operator},
	toAudit:      {identity.Auditor, identity.Admin, identity.Operator},
	toAdminister: {identity.Admin, identity.Operator},
	toReveal:     {identity.Revealer, identity.Admin},
	toReplicate:  {identity.Operator}, // and tokens that name the tenant
}

// scope is where the caller may do something: what the tenant's grants give, or
// where it has none, or the caller is an operator, the roles; within the prefixes
// of the token.
//
// Errors: errDenied when the grants cannot be read; ledger.ErrUnavailable while the
// replica does not hold them.
func (g *Gateway) scope(c caller, op operation) (scope, error) {
	s, err := g.granted(c, op)
	if err != nil {
		return nil, err
	}
	return s.within(c.Prefixes), nil
}

func (g *Gateway) granted(c caller, op operation) (scope, error) {
	policy, bound, err := g.grantsFor(c)
	switch {
	case err != nil:
		return nil, err
	case bound && op == toReplicate && !c.MayReplicate(c.tenant):
		return nil, nil
	case bound:
		return policy.scope(c.Principal, op), nil
	case slices.ContainsFunc(rolesWith[op], c.Has), op == toReplicate && c.MayReplicate(c.tenant):
		return everywhere, nil
	}
	return nil, nil
}

// grantsFor are the grants that bind the caller, if any do.
func (g *Gateway) grantsFor(c caller) (policy grants, bound bool, err error) {
	if c.Has(identity.Operator) {
		return nil, false, nil
	}
	set, err := g.policies.current()
	if err != nil {
		return nil, false, err
	}
	policy, bound = set.grants[c.tenant]
	if bound && policy == nil {
		return nil, true, denied("the grants of %s cannot be read: an operator must mend %s in the tenant %s", c.tenant, grantsPolicy.key(c.tenant), ledger.System)
	}
	return policy, bound, nil
}

// scopes is where the caller may do each of the operations.
func (g *Gateway) scopes(c caller) ([]scope, error) {
	all := make([]scope, len(operations))
	for i, op := range operations {
		var err error
		if all[i], err = g.scope(c, op); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// may is nil when the caller may do something on some key.
func (g *Gateway) may(c caller, op operation) error {
	s, err := g.scope(c, op)
	if err != nil || len(s) > 0 {
		return err
	}
	_, bound, err := g.grantsFor(c)
	switch {
	case err != nil:
		return err
	case !slices.ContainsFunc(rolesWith[op], c.Has) && !bound:
		return denied("to %s needs the role %s; the roles of %s in %s are %s", op, orList(rolesWith[op]), c.Subject, c.tenant, rolesOf(c))
	case c.Prefixes != nil:
		return denied("nothing lets %s %s in %s under the token's prefixes, %s; its roles are %s", c.Subject, op, c.tenant, quoted(c.Prefixes), rolesOf(c))
	}
	return denied("no grant of %s lets %s %s there; its roles are %s", c.tenant, c.Subject, op, rolesOf(c))
}

// orList writes words as people do: a, b or c.
func orList[T ~string](words []T) string { return listed(words, " or ") }

// rolesOf names a caller's roles.
func rolesOf(c caller) string {
	if len(c.Roles) == 0 {
		return "none"
	}
	return listed(c.Roles, " and ")
}

func listed[T ~string](words []T, last string) string {
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

// mayOn is nil when the caller may do something on all keys that begin with the
// prefix, or on the key. It looks at no key: whether one is set, it does not tell.
func (g *Gateway) mayOn(c caller, op operation, what string) error {
	s, err := g.scope(c, op)
	switch {
	case err != nil:
		return err
	case s.prefix(what):
		return nil
	case len(s) == 0:
		return g.may(c, op)
	}
	if what == "" {
		what = "everything"
	}
	return denied("%s may not %s %s in %s, only what begins with %s", c.Subject, op, what, c.tenant, quoted(s))
}

func quoted(s scope) string {
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

// CheckAccess tells whether the caller may do something, and why.
func (s ledgerService) CheckAccess(ctx context.Context, req *stelev1.CheckAccessRequest) (*stelev1.CheckAccessResponse, error) {
	c, op, what := callerOf(ctx), operation(req.Operation), req.GetPrefix()
	if by, ok := req.On.(*stelev1.CheckAccessRequest_Key); ok {
		what = by.Key
		if _, err := ledger.ParseKey(what); err != nil {
			return nil, ledger.Invalid("key", err.Error())
		}
	}
	if _, err := ledger.ParsePrefix(what); err != nil {
		return nil, ledger.Invalid("prefix", err.Error())
	}
	if c.tenant == "" {
		return nil, errNoTenant
	}
	err := s.g.mayOn(c, op, what)
	if errors.Is(err, errDenied) {
		return &stelev1.CheckAccessResponse{Reason: strings.TrimPrefix(err.Error(), errDenied.Error()+": ")}, nil
	}
	if err != nil {
		return nil, err
	}
	resp := &stelev1.CheckAccessResponse{Allowed: true, Reason: fmt.Sprintf("the roles of %s are %s", c.Subject, rolesOf(c))}
	policy, _, err := s.g.grantsFor(c)
	if by := policy.one(c.Principal, op, what); by != nil {
		resp.Reason, resp.Grant = fmt.Sprintf("%s has a grant in %s", c.Subject, c.tenant), by.text
	}
	return resp, err
}
