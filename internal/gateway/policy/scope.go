package policy

import (
	"slices"

	"github.com/stelehq/stele/internal/ledger"
)

// Scope is the set of keys on which an operation is allowed: the keys that one of the patterns
// selects. An empty scope allows nothing.
type Scope []ledger.Pattern

var everywhere = Scope{""}

// Everywhere reports whether the operation is allowed on every key.
func (s Scope) Everywhere() bool { return s.Prefix("") }

// Key reports whether the operation is allowed on a key.
func (s Scope) Key(k ledger.Key) bool {
	return slices.ContainsFunc(s, func(allowed ledger.Pattern) bool { return allowed.Match(k) })
}

// Prefix reports whether one of the scope's patterns allows the operation on all keys that p,
// a ledger.Pattern, selects.
func (s Scope) Prefix(p string) bool {
	return slices.ContainsFunc(s, func(allowed ledger.Pattern) bool { return allowed.Covers(ledger.Pattern(p)) })
}

// Within is the part of the scope that is also in the limit; a nil limit allows all.
func (s Scope) Within(limit []ledger.Pattern) Scope {
	if limit == nil {
		return s
	}
	var both Scope
	for _, a := range s {
		for _, b := range limit {
			switch {
			case a.Covers(b):
				both = append(both, b)
			case b.Covers(a):
				both = append(both, a)
			}
		}
	}
	return both.tidy()
}

// tidy sorts the patterns and drops those that another one covers, so that equal
// scopes are equal slices.
func (s Scope) tidy() Scope {
	slices.Sort(s)
	var kept Scope
	for _, p := range s {
		if !kept.Prefix(string(p)) {
			kept = append(slices.DeleteFunc(kept, p.Covers), p)
		}
	}
	return kept
}

// Name reports whether all keys that the name selects are in the scope.
func (s Scope) Name(n ledger.Name) bool {
	if n.IsKey() {
		return s.Key(ledger.Key(n))
	}
	return s.Prefix(string(n))
}

// Pick returns the changes of keys in the scope, and whether they are all of the changes.
func (s Scope) Pick(changes []ledger.Change) (in []ledger.Change, all bool) {
	if s.Everywhere() {
		return changes, true
	}
	for _, ch := range changes {
		if s.Key(ch.Key) {
			in = append(in, ch)
		}
	}
	return in, len(in) == len(changes)
}

// Commit is the part of a commit that a caller with the scope may see, and whether that
// is all of it. The message and other fields about the whole commit are left out if it
// also concerns other keys, because they can describe those.
func (s Scope) Commit(c *ledger.Commit) (shown ledger.Commit, whole bool) {
	shown = *c
	shown.Changes, whole = s.Pick(c.Changes)
	if whole = whole && s.origin(c.Origin); !whole {
		shown.Message, shown.RequestID, shown.RequestHash, shown.Origin, shown.Encoded = "", "", nil, nil, nil
	}
	return shown, whole
}

// origin reports whether all keys that an origin concerns are in the scope.
func (s Scope) origin(o ledger.Origin) bool {
	switch o := o.(type) {
	case *ledger.CopyOrigin:
		return s.Name(o.From)
	case *ledger.PromotionOrigin:
		return !slices.ContainsFunc(o.Left, func(k ledger.Key) bool { return !s.Key(k) })
	case *ledger.BaseOrigin: // the base's commit, whose message it repeats, can change any key
		return s.Everywhere()
	}
	return true
}

// Strings are the scope's patterns.
func (s Scope) Strings() []string {
	out := make([]string, len(s))
	for i, p := range s {
		out[i] = string(p)
	}
	return out
}
