package schema

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/secret"
)

// Secrets opens encrypted values: a secret.Keyring.
type Secrets interface {
	Reveal(ctx context.Context, t ledger.Tenant, k ledger.Key, v ledger.Value) (ledger.Value, error)
}

// Source knows the schemas of all tenants. It is a ledger's Config.Schemas.
type Source struct {
	replica *replica.Replica
	routes  *routes.Source
	secrets Secrets // may be nil

	platform  atomic.Pointer[known] // nil until it is read
	mu        sync.Mutex            // guards the field below
	ofTenants map[ledger.Tenant]known
}

// known are the schemas of a tenant at its head.
type known struct {
	head ledger.Revision
	set  *Set
}

// NewSource needs a replica that holds the ledger's own tenant.
func NewSource(r *replica.Replica, table *routes.Source, secrets Secrets) *Source {
	return &Source{replica: r, routes: table, secrets: secrets, ofTenants: make(map[ledger.Tenant]known)}
}

// Platform are the schemas that hold for every tenant. A commit asks for them each
// time, so it takes no lock as long as nothing has changed.
func (s *Source) Platform() (*Set, error) {
	is := s.platform.Load()
	if head := s.replica.Head(ledger.System).Revision; is == nil || is.head != head {
		v, err := s.replica.View(ledger.System, replica.At{})
		if err != nil {
			return nil, fmt.Errorf("read the schemas of %s: %w", ledger.System, err)
		}
		defer v.Close()
		next := known{head: v.Head().Revision}
		if next.set, err = s.Of(ledger.System, v.Head().Revision, v); err != nil {
			return nil, err
		}
		is = &next
		s.platform.Store(is)
	}
	return is.set, nil
}

// Of are a tenant's schemas, with those that it inherits, in a state at its head. It reads
// only what has changed since the last call.
func (s *Source) Of(t ledger.Tenant, head ledger.Revision, state ledger.Effective) (*Set, error) {
	s.mu.Lock()
	was := s.ofTenants[t]
	s.mu.Unlock()
	switch {
	case was.head == head:
		return was.set, nil
	case was.head > head: // another caller has a newer one, or the journal is another
		was = known{}
	}
	changed, err := changedSchemas(state, was.head, head)
	if notKept := (*ledger.HistoryError)(nil); errors.As(err, &notKept) {
		was = known{} // all that there are now
		changed, err = changedSchemas(state, 0, head)
	}
	if err != nil {
		return nil, fmt.Errorf("read the schemas of %s: %w", t, err)
	}
	is := known{head: head, set: was.set}
	if len(changed) > 0 {
		is.set = was.set.with(t, changed)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ofTenants[t] = is
	return is.set, nil
}

// changedSchemas are the schemas that have changed since a revision.
func changedSchemas(state ledger.Effective, since, head ledger.Revision) (changed []Document, err error) {
	for d, err := range state.Diff(since, head, Tag, "") {
		if err != nil {
			return nil, err
		}
		p, _ := PrefixOf(d.Key)
		changed = append(changed, Document{Prefix: p, Text: d.To.Value, Revision: d.To.Revision})
	}
	return changed, nil
}

// At are a tenant's own schemas in a view of any moment.
func At(t ledger.Tenant, v *replica.View) (*Set, error) {
	var all []Document
	for e, err := range v.List(Tag, "") {
		if err != nil {
			return nil, fmt.Errorf("read the schemas of %s: %w", t, err)
		}
		p, _ := PrefixOf(e.Key)
		all = append(all, Document{Prefix: p, Text: e.Value, Revision: e.Revision})
	}
	return (*Set)(nil).with(t, all), nil
}

// open is a value as its writer wrote it. ok is false if its key was destroyed: then it
// cannot be checked.
func (s *Source) open(ctx context.Context, t ledger.Tenant, k ledger.Key, v ledger.Value) (plain ledger.Value, ok bool, err error) {
	if !secret.Sealed(v) {
		return v, true, nil
	}
	err = secret.ErrNoKEK
	if s.secrets != nil {
		plain, err = s.secrets.Reveal(ctx, t, k, v)
	}
	switch {
	case errors.Is(err, secret.ErrDestroyed):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("%w: %s: %w", ledger.ErrUnchecked, k, err)
	}
	return plain, true, nil
}
