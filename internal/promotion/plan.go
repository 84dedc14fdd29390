package promotion

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/schema"
)

// Settings are the tenant's own values at a revision, without what it inherits.
type Settings map[ledger.Key]ledger.Value

// Base returns the value that a key had in the source when it was last promoted, empty if it
// was not set; ok is false if it never was promoted.
type Base func(ledger.Key) (v ledger.Value, ok bool)

// Plan is the plan of a promotion: what it does with each key that differs. Its lists are sorted
// by key.
type Plan struct {
	// Changes take over what the source has changed.
	Changes []ledger.Change
	// Kept are the keys that only the target has changed.
	Kept []ledger.Key
	// Conflicts are the keys that both have changed, to different values.
	Conflicts []Conflict
}

// Conflict is a key that both tenants have changed. An empty value means not set.
type Conflict struct {
	Key            ledger.Key
	Base, From, To ledger.Value
	// First is set if the key was never promoted before.
	First bool
}

// take is the change that takes over the source's value.
func (c Conflict) take() ledger.Change {
	return ledger.Change{Key: c.Key, Value: c.From, Delete: c.From == ""}
}

// Compare plans the promotion of settings to a target. Values are compared by meaning.
func Compare(from, to Settings, base Base) (p Plan) {
	keys := make(map[ledger.Key]bool)
	for k := range from {
		keys[k] = true
	}
	for k := range to {
		keys[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		c := Conflict{Key: k, From: from[k], To: to[k]}
		was, promoted := base(k)
		c.Base, c.First = was, !promoted
		switch {
		case c.From.Equal(c.To):
		case c.From.Equal(was): // also if it was never promoted and the source has not set it
			p.Kept = append(p.Kept, k)
		case c.To.Equal(was):
			p.Changes = append(p.Changes, c.take())
		default:
			p.Conflicts = append(p.Conflicts, c)
		}
	}
	return p
}

// Decision is what happens with a conflict.
type Decision int

const (
	// Leave leaves it for a later promotion.
	Leave Decision = iota
	// Theirs takes the source's value.
	Theirs
	// Ours keeps the target's.
	Ours
)

// ByPattern decides Theirs for the keys that theirs selects and Ours for the keys that ours
// selects. If both select one, the longer pattern decides.
func ByPattern(theirs, ours []ledger.Pattern) func(ledger.Key) Decision {
	longest := func(patterns []ledger.Pattern, k ledger.Key) (n int) {
		for _, q := range patterns {
			if q.Match(k) {
				n = max(n, 1+len(q.Range()))
			}
		}
		return n
	}
	return func(k ledger.Key) Decision {
		source, target := longest(theirs, k), longest(ours, k)
		switch {
		case source > target:
			return Theirs
		case target > 0:
			return Ours
		}
		return Leave
	}
}

// Resolve decides conflicts.
func (p *Plan) Resolve(decide func(ledger.Key) Decision) {
	p.Conflicts = slices.DeleteFunc(p.Conflicts, func(c Conflict) bool {
		switch decide(c.Key) {
		case Theirs:
			p.Changes = append(p.Changes, c.take())
		case Ours:
			p.Kept = append(p.Kept, c.Key)
		default:
			return false
		}
		return true
	})
	slices.SortFunc(p.Changes, func(a, b ledger.Change) int { return cmp.Compare(a.Key, b.Key) })
	slices.Sort(p.Kept)
}

// Selects reports whether the promotion of a pattern includes a key: those that the pattern
// selects and their schemas. Of the ledger's own settings only schemas are promoted.
func Selects(p ledger.Pattern, k ledger.Key) bool {
	if !k.Reserved() {
		return p.Match(k)
	}
	prefix, is := schema.PrefixOf(k)
	return is && ledger.Pattern(strings.TrimSuffix(string(p), "/")).Match(ledger.Key(prefix))
}

// Covers reports whether an earlier promotion has decided about a key.
func Covers(o *ledger.PromotionOrigin, k ledger.Key) bool {
	return Selects(o.Keys, k) && !slices.Contains(o.Left, k)
}
