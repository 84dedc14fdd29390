package client

import (
	"hash/maphash"
	"iter"
	"maps"
	"slices"
	"strings"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Entry is a key that is set.
type Entry struct {
	Key string
	// Value is JSON text, exactly as it is in the ledger; "***" for a secret.
	Value string
	// Revision is the commit that last set the key.
	Revision uint64
	// Secret is set if the value is a secret, which no client keeps.
	Secret bool
	// Base is where the value is inherited from; the zero Base if it is the tenant's own.
	Base Base
}

// Base is a tenant whose values others inherit, and its revision that set a value.
type Base struct {
	Tenant   string
	Revision uint64
}

// baseOf is the zero Base for a tenant's own value.
func baseOf(b *stelev1.BaseRef) Base { return Base{b.GetTenant(), b.GetRevision()} }

// proto is nil for a tenant's own value.
func (b Base) proto() *stelev1.BaseRef {
	if b == (Base{}) {
		return nil
	}
	return &stelev1.BaseRef{Tenant: b.Tenant, Revision: b.Revision}
}

// mask replaces the value of a secret.
const mask = `"***"`

// fanout is in how many parts a state is. A commit copies only the parts whose
// keys it changes.
const fanout = 256

// state is everything that a client knows at one revision. It never changes once a
// reader may have it.
type state struct {
	revision uint64
	// id is the id of the commit that led to the revision, which alone does not identify it:
	// a ledger that was restored from a backup may give it to another commit.
	id    []byte
	parts *[fanout]map[string]Entry
	// slots hold what the keys of the bound values are decoded to, in the order of
	// Client.bound.
	slots []any
}

var seed = maphash.MakeSeed()

func partOf(key string) uint64 { return maphash.String(seed, key) % fanout }

func (s *state) get(key string) (Entry, bool) {
	e, ok := s.parts[partOf(key)][key]
	return e, ok
}

// draft is a state that is being made from another one.
type draft struct {
	parts *[fanout]map[string]Entry
	own   [fanout]bool // which parts are this draft's to change
}

func (s *state) draft() *draft {
	parts := *s.parts
	return &draft{parts: &parts}
}

func (d *draft) part(key string) map[string]Entry {
	i := partOf(key)
	if !d.own[i] {
		d.own[i] = true
		if d.parts[i] = maps.Clone(d.parts[i]); d.parts[i] == nil {
			d.parts[i] = make(map[string]Entry)
		}
	}
	return d.parts[i]
}

func (d *draft) set(e Entry)       { d.part(e.Key)[e.Key] = e }
func (d *draft) delete(key string) { delete(d.part(key), key) }

// finish is the state that a draft has led to.
func (d *draft) finish(revision uint64, id []byte, slots []any) *state {
	return &state{revision: revision, id: id, parts: d.parts, slots: slots}
}

// replaced is a state of only these entries.
func replaced(entries []*stelev1.Entry) *draft {
	d := &draft{parts: new([fanout]map[string]Entry)}
	for _, e := range entries {
		d.set(entryOf(e))
	}
	return d
}

func entryOf(e *stelev1.Entry) Entry {
	return Entry{Key: e.Key, Value: e.Value, Revision: e.Revision, Secret: e.Secret, Base: baseOf(e.Base)}
}

// Snapshot is a client's settings at one revision: all reads from it are consistent,
// whatever is committed meanwhile.
type Snapshot struct{ s *state }

// Revision is the tenant's revision that the snapshot is the state of.
func (s Snapshot) Revision() uint64 { return s.s.revision }

// Get returns a key; false when it is not set, or when the client does not keep it.
func (s Snapshot) Get(key string) (Entry, bool) { return s.s.get(key) }

// List returns the keys that a prefix selects, as in Config.Prefixes, in their order.
func (s Snapshot) List(prefix string) []Entry {
	var out []Entry
	for e := range s.s.all() {
		if selects(prefix, e.Key) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// all entries, in no order.
func (s *state) all() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for _, part := range s.parts {
			for _, e := range part {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// differences are the keys that are not the same in two states.
func differences(a, b *state) map[string]bool {
	keys := make(map[string]bool)
	for e := range a.all() {
		if now, ok := b.get(e.Key); !ok || now != e {
			keys[e.Key] = true
		}
	}
	for e := range b.all() {
		if _, ok := a.get(e.Key); !ok {
			keys[e.Key] = true
		}
	}
	return keys
}
