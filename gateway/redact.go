package gateway

import (
	"context"
	"fmt"
	"slices"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/replica"
	"github.com/stelehq/stele/ledger/routes"
	"github.com/stelehq/stele/ledger/secret"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// redactor is the filter of every value that leaves the gateway: it replaces a secret
// by secret.Mask or, if the caller asked for that and is allowed to, by the secret
// itself. A value is a secret if it is encrypted, or if its key is secret now.
type redactor struct {
	table  *routes.Table
	reveal func(ledger.Key, ledger.Value) (ledger.Value, error) // nil hides
}

// redactor makes the redactor of a call's answers. Whether the caller may have secrets
// revealed was checked before.
func (g *Gateway) redactor(ctx context.Context, reveal bool) (redactor, error) {
	table, _, err := g.routes()
	if err != nil || !reveal {
		return redactor{table: table}, err
	}
	if g.cfg.Secrets == nil {
		return redactor{}, secret.ErrNoKEK
	}
	t := callerOf(ctx).Tenant
	return redactor{table, func(k ledger.Key, v ledger.Value) (ledger.Value, error) {
		return g.cfg.Secrets.Reveal(ctx, t, k, v)
	}}, nil
}

func (s redactor) secret(k ledger.Key, v ledger.Value) bool {
	return secret.Sealed(v) || v != "" && s.table.Secret(k)
}

// entry is an entry as it is shown.
func (s redactor) entry(e replica.Entry) (*stelev1.Entry, error) {
	out := &stelev1.Entry{}
	return out, s.into(out, e)
}

// hidden is an entry as it is shown where nothing is revealed.
func (s redactor) hidden(e replica.Entry) *stelev1.Entry {
	s.reveal = nil
	out, _ := s.entry(e) // only what is revealed can fail
	return out
}

func (s redactor) into(out *stelev1.Entry, e replica.Entry) (err error) {
	out.Key, out.Value, out.Revision = e.Key, e.Value, uint64(e.Revision)
	if k, v := ledger.Key(e.Key), ledger.Value(e.Value); s.secret(k, v) {
		out.Secret = true
		if v, err = s.show(k, v); err == nil {
			out.Value = string(v)
		}
	}
	return err
}

// show is the redacted form of a secret.
func (s redactor) show(k ledger.Key, v ledger.Value) (ledger.Value, error) {
	if s.reveal == nil {
		return secret.Mask, nil
	}
	return s.reveal(k, v)
}

// hide is a value as it is shown where nothing is revealed.
func (s redactor) hide(k ledger.Key, v ledger.Value) ledger.Value {
	if s.secret(k, v) {
		return secret.Mask
	}
	return v
}

// changes are redacted changes; the same ones, if none is a secret's.
func (s redactor) changes(changes []ledger.Change) []ledger.Change {
	at := slices.IndexFunc(changes, func(c ledger.Change) bool { return s.secret(c.Key, c.Value) })
	if at < 0 {
		return changes
	}
	out := slices.Clone(changes)
	for i := at; i < len(out); i++ {
		out[i].Value = s.hide(out[i].Key, out[i].Value)
	}
	return out
}

// commit is a commit as it is shown.
func (s redactor) commit(c *ledger.Commit) *ledger.Commit {
	shown := *c
	shown.Changes = s.changes(c.Changes)
	return &shown
}

// shown is a commit as watches get it. Without the routes, which a replica that is
// being built does not have, only encrypted values are redacted: a new commit is no
// older than the route that makes its key secret.
func (g *Gateway) shown(c *ledger.Commit) *ledger.Commit {
	s := redactor{table: &routes.Table{}}
	if table, _, err := g.routes(); err == nil {
		s.table = table
	}
	return s.commit(c)
}

// ShredTenant destroys the tenant's key for secrets.
func (s ledgerService) ShredTenant(ctx context.Context, req *stelev1.ShredTenantRequest) (*stelev1.ShredTenantResponse, error) {
	l, err := s.g.ledger()
	if err != nil {
		return nil, err
	}
	c := callerOf(ctx)
	switch {
	case c.Tenant == "":
		return nil, ledger.Invalid(tenantHeader, "name the tenant to shred")
	case req.Confirm != string(c.Tenant):
		return nil, ledger.Invalid("confirm", fmt.Sprintf("it is not %s: nothing was destroyed", c.Tenant))
	case c.Tenant.Reserved():
		return nil, ledger.Invalid(tenantHeader, fmt.Sprintf("%s is the ledger's own and holds no secrets", c.Tenant))
	case s.g.cfg.Secrets == nil:
		return nil, secret.ErrNoKEK
	}
	keys, rev, err := s.g.cfg.Secrets.Shred(ctx, l, c.Tenant, c.Subject)
	if err != nil {
		return nil, err
	}
	s.g.cfg.Log.Warn("a tenant's secrets were destroyed", "tenant", c.Tenant, "keys", keys, "by", c.Subject, "revision", rev)
	return &stelev1.ShredTenantResponse{Keys: keys, Revision: uint64(rev)}, nil
}

// RotateTenantKey encrypts the tenant's keys for secrets again, and makes a new one if that
// is asked for.
func (s ledgerService) RotateTenantKey(ctx context.Context, req *stelev1.RotateTenantKeyRequest) (*stelev1.RotateTenantKeyResponse, error) {
	c := callerOf(ctx)
	switch {
	case c.Tenant == "":
		return nil, ledger.Invalid(tenantHeader, "name the tenant whose key to rotate")
	case s.g.cfg.Secrets == nil:
		return nil, secret.ErrNoKEK
	}
	ids, err := s.g.cfg.Secrets.Rotate(ctx, c.Tenant, req.NewKey)
	if err != nil {
		return nil, err
	}
	s.g.cfg.Log.Info("the keys of a tenant's secrets were encrypted again", "tenant", c.Tenant, "key", ids[0], "older", ids[1:], "new", req.NewKey, "by", c.Subject)
	return &stelev1.RotateTenantKeyResponse{Key: ids[0], Older: ids[1:]}, nil
}
