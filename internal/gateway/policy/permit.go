package policy

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"google.golang.org/protobuf/proto"
)

// ErrDenied is in every error about a missing permission.
var ErrDenied = errors.New("permission denied")

// Denied is an ErrDenied with its reason.
func Denied(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDenied, fmt.Sprintf(format, args...))
}

// ErrNoTenant: the call is for a tenant, and an operator has not named one.
var ErrNoTenant = ledger.Invalid("as-tenant", "the token names no tenant: pass stele -t TENANT, or the header \"as-tenant\"")

// MayCall is the permission check of a method: nil if the caller may call it, with some
// request.
func (e *Enforcer) MayCall(c Caller, m *Method) error {
	if err := e.notRevoked(c, m); err != nil {
		return err
	}
	switch {
	case m.Needs == OperatorOnly && !c.Has(identity.Operator):
		return Denied("%s needs the role operator; the roles of %s are %s", path.Base(m.Name), c.Subject, rolesOf(c))
	case m.Needs == OperatorOnly, m.Needs == Authenticated, m.Needs == Replicate:
		return nil
	case c.Tenant == "" && (m.Needs < OperatorRead || !c.Has(identity.Operator)):
		return ErrNoTenant
	case c.Tenant == "":
		return nil
	}
	return e.May(c, m.Needs.Operation())
}

// Admit is the permission check of a request, and its rate limit: nil if the caller has
// permission for it, and its tenant is within its limits. Every request goes through it.
func (e *Enforcer) Admit(ctx context.Context, c Caller, m *Method, req proto.Message) error {
	if err := e.Spend(ctx, c, m, req); err != nil {
		return err
	}
	return e.permit(ctx, c, m, req)
}

// permit is nil if the caller has permission for a request, on all keys and prefixes
// that it names.
func (e *Enforcer) permit(ctx context.Context, c Caller, m *Method, req proto.Message) error {
	if m.Limits == AllKeys {
		return e.on(c, m.Needs.Operation(), everyKey)
	}
	t := m.touches(req)
	if err := e.on(c, ToWrite, t.Writes); err != nil {
		return err
	}
	if err := e.on(c, ToRead, t.Reads); err != nil {
		return err
	}
	if err := e.on(c, ToAdminister, t.Administers); err != nil {
		return err
	}
	if t.Reveals {
		if err := e.on(c, ToReveal, t.Reads); err != nil {
			return err
		}
	}
	if len(t.Commits) > 0 {
		return e.commits(ctx, c, t)
	}
	return nil
}

// on is nil if the caller may perform the operation on all of these keys and prefixes.
func (e *Enforcer) on(c Caller, op Operation, k Keys) error {
	if k.empty() {
		return nil
	}
	s, err := e.Scope(c, op)
	if err != nil || s.Everywhere() {
		return err
	}
	if k.One != "" && !s.Key(ledger.Key(k.One)) {
		return e.MayOn(c, op, k.One)
	}
	for _, what := range [...][]string{k.Keys, k.Prefixes} {
		for _, w := range what {
			if !s.Prefix(w) {
				return e.MayOn(c, op, w) // it says why
			}
		}
	}
	return nil
}

// commits is nil if the caller may read and write all keys that the commits changed.
func (e *Enforcer) commits(ctx context.Context, c Caller, t Touched) error {
	if e.on(c, ToWrite, everyKey) == nil && e.on(c, ToRead, everyKey) == nil {
		return nil
	}
	reads, err := e.Scope(c, ToRead)
	if err != nil {
		return err
	}
	writes, err := e.Scope(c, ToWrite)
	if err != nil {
		return err
	}
	return e.cfg.History(ctx, c.Tenant, t.Commits, t.AtLeast, func(commit *ledger.Commit) error {
		_, read := reads.Pick(commit.Changes)
		_, write := writes.Pick(commit.Changes)
		if !read || !write {
			// The key is not named: it can be one that the caller may not read.
			return Denied("%s%s changed keys that %s may not both read and change: it can be reverted only as a whole", c.Tenant, commit.Revision, c.Subject)
		}
		return e.on(c, ToRead, schemaValues(commit.Changes))
	})
}
