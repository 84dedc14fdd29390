package policy

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/stelehq/stele/internal/ledger"
)

// Viewer limits a check of stored values to the values that a caller may see, and
// records them: a check of values is a read of them, and a check of secrets reveals
// them. It is a ledger.Viewer for one request.
type Viewer struct {
	e *Enforcer
	c Caller
	m *Method

	mu      sync.Mutex // guards what follows
	tenants map[ledger.Tenant]*viewed
	// notChecked counts secrets that the caller may not reveal.
	notChecked map[ledger.Tenant]map[ledger.Key]bool
	err        error
}

// viewed is the part of a tenant that the caller may see, and the reads so far.
type viewed struct {
	reads, reveals Scope
	prefixes       map[ledger.Prefix]bool
	revealed       map[ledger.Key]bool
	compared       []ledger.Change
}

var _ ledger.Viewer = (*Viewer)(nil)

// View makes a Viewer for a request of the caller.
func (e *Enforcer) View(c Caller, m *Method) *Viewer { return &Viewer{e: e, c: c, m: m} }

// of must be called with v.mu held.
func (v *Viewer) of(t ledger.Tenant) *viewed {
	s := v.tenants[t]
	if s != nil {
		return s
	}
	s = &viewed{}
	if v.tenants == nil {
		v.tenants = make(map[ledger.Tenant]*viewed)
	}
	v.tenants[t] = s
	c := v.c.In(t)
	var err, failed error
	s.reads, err = v.e.Scope(c, ToRead)
	s.reveals, failed = v.e.Scope(c, ToReveal)
	v.err = errors.Join(v.err, err, failed)
	return s
}

// Reads implements ledger.Viewer.
func (v *Viewer) Reads(t ledger.Tenant, k ledger.Key) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.of(t).reads.Key(k)
}

// Looked implements ledger.Viewer.
func (v *Viewer) Looked(t ledger.Tenant, p ledger.Prefix) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.of(t)
	if s.prefixes == nil {
		s.prefixes = make(map[ledger.Prefix]bool)
	}
	s.prefixes[p] = true
}

// Unchanged records that the caller learns the values of keys: the changes change nothing, so
// they equal the values.
func (v *Viewer) Unchanged(t ledger.Tenant, changes []ledger.Change) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.of(t).compared = changes
}

// Opens implements ledger.Viewer.
func (v *Viewer) Opens(t ledger.Tenant, k ledger.Key) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.of(t)
	if s.reveals.Key(k) {
		if s.revealed == nil {
			s.revealed = make(map[ledger.Key]bool)
		}
		s.revealed[k] = true
		return true
	}
	if v.notChecked == nil {
		v.notChecked = make(map[ledger.Tenant]map[ledger.Key]bool)
	}
	if v.notChecked[t] == nil {
		v.notChecked[t] = make(map[ledger.Key]bool)
	}
	v.notChecked[t][k] = true
	return false
}

// NotChecked is the number of secrets that were not checked.
func (v *Viewer) NotChecked() (n uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, keys := range v.notChecked {
		n += uint64(len(keys))
	}
	return n
}

// Record makes the records of these reads durable, one per tenant, as Enforcer.Record
// does. Call it before any answer.
func (v *Viewer) Record(ctx context.Context, revision uint64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil {
		return v.err
	}
	var read []ledger.Tenant
	for t, s := range v.tenants {
		if len(s.prefixes)+len(s.revealed)+len(s.compared) > 0 {
			read = append(read, t)
		}
	}
	slices.Sort(read)
	for _, t := range read {
		s := v.tenants[t]
		var a Asked
		for _, k := range slices.Sorted(maps.Keys(s.revealed)) {
			a.Keys = append(a.Keys, string(k))
		}
		for _, ch := range s.compared {
			a.Keys = append(a.Keys, string(ch.Key))
		}
		for _, p := range slices.Sorted(maps.Keys(s.prefixes)) {
			a.Prefixes = append(a.Prefixes, string(p))
		}
		a.Revealed = len(s.revealed) > 0
		if err := v.e.Record(ctx, v.c, v.m, t, a, revision); err != nil {
			return err
		}
	}
	return nil
}
