// Package redact replaces secrets in answers by secret.Mask (redaction), unless the caller
// asked to have them revealed and is allowed to.
package redact

import (
	"context"
	"fmt"
	"slices"

	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/secret"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Redactor redacts every value that leaves the gateway: it puts secret.Mask in the place of a
// secret, or the secret itself if the caller asked for that and is allowed to. A value is a
// secret when it is encrypted, or when its key is secret now.
type Redactor struct {
	Table  *routes.Table
	Reveal func(ledger.Source, ledger.Key, ledger.Value) (ledger.Value, error) // nil hides
}

// Source makes redactors from the routes in force, which say what is secret.
type Source struct {
	Routes  *routes.Source
	Secrets *secret.Keyring // nil refuses to reveal
}

// For makes the redactor of a call's answers. Whether the caller may have secrets
// revealed was checked before.
func (r Source) For(ctx context.Context, reveal bool) (Redactor, error) {
	table, _, err := r.Routes.Table()
	if err != nil {
		return Redactor{}, fmt.Errorf("read the routes: %w", err)
	}
	if !reveal {
		return Redactor{Table: table}, nil
	}
	if r.Secrets == nil {
		return Redactor{}, secret.ErrNoKEK
	}
	t := policy.CallerOf(ctx).Tenant
	return Redactor{table, func(base ledger.Source, k ledger.Key, v ledger.Value) (ledger.Value, error) {
		return r.Secrets.Reveal(ctx, base.Owner(t), k, v)
	}}, nil
}

// Secret reports whether a value is a secret.
func (s Redactor) Secret(k ledger.Key, v ledger.Value) bool {
	return secret.Sealed(v) || v != "" && s.Table.Secret(k)
}

// Entry is an entry as it is shown.
func (s Redactor) Entry(e replica.Entry) (*stelev1.Entry, error) {
	out := &stelev1.Entry{}
	return out, s.Into(out, e)
}

// Hidden is an entry as it is shown if nothing is revealed.
func (s Redactor) Hidden(e replica.Entry) *stelev1.Entry {
	s.Reveal = nil
	out, _ := s.Entry(e) // only what is revealed can fail
	return out
}

// Into fills out with an entry as it is shown.
func (s Redactor) Into(out *stelev1.Entry, e replica.Entry) (err error) {
	out.Key, out.Value, out.Revision, out.Base = string(e.Key), string(e.Value), uint64(e.Revision), e.Base.Proto()
	if s.Secret(e.Key, e.Value) {
		out.Secret = true
		var v ledger.Value
		if v, err = s.show(e.Base, e.Key, e.Value); err == nil {
			out.Value = string(v)
		}
	}
	return err
}

// show is what is shown of a secret.
func (s Redactor) show(base ledger.Source, k ledger.Key, v ledger.Value) (ledger.Value, error) {
	if s.Reveal == nil {
		return secret.Mask, nil
	}
	return s.Reveal(base, k, v)
}

// Hide is a value as it is shown if nothing is revealed.
func (s Redactor) Hide(k ledger.Key, v ledger.Value) ledger.Value {
	if s.Secret(k, v) {
		return secret.Mask
	}
	return v
}

// Changes returns the changes as they are shown: the same slice if no change is of a secret.
func (s Redactor) Changes(changes []ledger.Change) []ledger.Change {
	at := slices.IndexFunc(changes, func(c ledger.Change) bool { return s.Secret(c.Key, c.Value) })
	if at < 0 {
		return changes
	}
	out := slices.Clone(changes)
	for i := at; i < len(out); i++ {
		out[i].Value = s.Hide(out[i].Key, out[i].Value)
	}
	return out
}

// Commit is a commit as it is shown.
func (s Redactor) Commit(c *ledger.Commit) *ledger.Commit {
	shown := *c
	shown.Changes = s.Changes(c.Changes)
	return &shown
}

// Live is the redactor of what watches get. Without the routes, which a replica that is
// being built does not have, it hides what is encrypted: a commit that comes now is no
// older than its key's being secret.
func (r Source) Live() Redactor {
	s := Redactor{Table: &routes.Table{}}
	if table, _, err := r.Routes.Table(); err == nil {
		s.Table = table
	}
	return s
}
