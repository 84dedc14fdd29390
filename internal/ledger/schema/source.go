package schema

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	mu        sync.Mutex            // guards the fields below
	ofTenants map[ledger.Tenant]known
	ofBases   map[ledger.Tenant]map[ledger.Revision]*Set // at pinned revisions
}

// maxPins is the number of revisions of a base whose schemas are kept in memory.
const maxPins = 64

// known are the schemas of a tenant at its head.
type known struct {
	head ledger.Revision
	set  *Set
}

// NewSource needs a replica that holds the ledger's own tenant.
func NewSource(r *replica.Replica, table *routes.Source, secrets Secrets) *Source {
	return &Source{replica: r, routes: table, secrets: secrets, ofTenants: make(map[ledger.Tenant]known), ofBases: make(map[ledger.Tenant]map[ledger.Revision]*Set)}
}

// Platform are the schemas that hold for every tenant. A commit asks for them each
// time, so it takes no lock as long as nothing has changed.
func (s *Source) Platform() (*Set, error) {
	is := s.platform.Load()
	if head := s.replica.SystemHead(); is == nil || is.head != head {
		v, err := s.replica.View(ledger.System, replica.At{})
		if err != nil {
			return nil, fmt.Errorf("read the schemas of %s: %w", ledger.System, err)
		}
		defer v.Close()
		next := known{head: v.Head().Revision}
		if next.set, err = s.Of(ledger.System, v.Own()); err != nil {
			return nil, err
		}
		is = &next
		s.platform.Store(is)
	}
	return is.set, nil
}

// Of are a tenant's own schemas in a state at its head. It reads only what has changed since
// the last call.
func (s *Source) Of(t ledger.Tenant, state ledger.State) (*Set, error) {
	head := state.Head().Revision
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

// Bases are the schemas of a tenant's bases at their pins. They hold for the tenant in addition
// to its own, also if it has one for the same prefix.
func (s *Source) Bases(list []ledger.Base) (sets []*Set, err error) {
	for _, b := range list {
		set, err := s.pinned(b)
		if err != nil {
			return nil, fmt.Errorf("read the schemas of the base %s%s: %w", b.Tenant, b.Revision, err)
		}
		if set != nil {
			sets = append(sets, set)
		}
	}
	return sets, nil
}

func (s *Source) pinned(b ledger.Base) (*Set, error) {
	s.mu.Lock()
	set, ok := s.ofBases[b.Tenant][b.Revision]
	s.mu.Unlock()
	if ok {
		return set, nil
	}
	v, err := s.replica.View(b.Tenant, replica.At{Revision: b.Revision})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	if set, err = At(b.Tenant, v); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	pins := s.ofBases[b.Tenant]
	for _, other := range pins { // few commits of a base change its schemas: what is compiled is kept
		if set.same(other) {
			set = other
			break
		}
	}
	if pins == nil || len(pins) >= maxPins {
		pins = make(map[ledger.Revision]*Set)
		s.ofBases[b.Tenant] = pins
	}
	pins[b.Revision] = set
	return set, nil
}

// BasesOf are the schemas of the bases in a view of any state.
func (s *Source) BasesOf(v *replica.View) ([]*Set, error) {
	e, _, err := v.Get(ledger.BasesKey)
	if err != nil {
		return nil, err
	}
	list, err := ledger.ParseBases(e.Value)
	if err != nil {
		return nil, err
	}
	return s.Bases(list)
}

// fewCommits is up to how many commits are looked through before the keys are searched: the
// newest are in memory, and hardly any changes a schema.
const fewCommits = 16

// changedSchemas are the schemas that have changed since a revision.
func changedSchemas(state ledger.State, since, head ledger.Revision) (changed []Document, err error) {
	if head-since <= fewCommits && noSchemas(state, since, head) {
		return nil, nil
	}
	for d, err := range state.Diff(since, head, Tag, "") {
		if err != nil {
			return nil, err
		}
		p, _ := PrefixOf(d.Key)
		changed = append(changed, Document{Prefix: p, Text: d.To.Value, Revision: d.To.Revision})
	}
	return changed, nil
}

// noSchemas reports that no commit since a revision has set or deleted a schema. It is false if
// a commit cannot be read.
func noSchemas(state ledger.State, since, head ledger.Revision) bool {
	for rev := since + 1; rev <= head; rev++ {
		c, err := state.Commit(rev)
		if err != nil || slices.ContainsFunc(c.Changes, func(ch ledger.Change) bool { return strings.HasPrefix(string(ch.Key), Tag) }) {
			return false
		}
	}
	return true
}

// At are a tenant's own schemas in a view of any state.
func At(t ledger.Tenant, v *replica.View) (*Set, error) {
	var all []Document
	for e, err := range v.List(Tag, "") {
		if err != nil {
			return nil, fmt.Errorf("read the schemas of %s: %w", t, err)
		}
		if e.Base.Inherited() {
			continue
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
