package policy

import (
	"slices"
	"strings"

	"github.com/stelehq/stele/ledger"
)

// Scope is where something is allowed: on the keys that begin with one of the
// prefixes. An empty one allows nothing.
type Scope []ledger.Prefix

var everywhere = Scope{""}

// Everywhere reports whether it is allowed on every key.
func (s Scope) Everywhere() bool { return slices.Contains(s, "") }

// Key reports whether it is allowed on a key.
func (s Scope) Key(k string) bool { return s.Prefix(k) }

// Prefix reports whether one of the scope's prefixes allows it on all keys that begin
// with p.
func (s Scope) Prefix(p string) bool {
	return slices.ContainsFunc(s, func(allowed ledger.Prefix) bool { return strings.HasPrefix(p, string(allowed)) })
}

// Within is the part of the scope that is also in the limit; nil is no limit.
func (s Scope) Within(limit []ledger.Prefix) Scope {
	if limit == nil {
		return s
	}
	var both Scope
	for _, a := range s {
		for _, b := range limit {
			switch {
			case strings.HasPrefix(string(b), string(a)):
				both = append(both, b)
			case strings.HasPrefix(string(a), string(b)):
				both = append(both, a)
			}
		}
	}
	return both.tidy()
}

// tidy sorts the prefixes and drops what another one covers, so that equal scopes
// are equal slices.
func (s Scope) tidy() Scope {
	slices.Sort(s)
	var kept Scope
	for _, p := range s {
		if !kept.Prefix(string(p)) {
			kept = append(kept, p)
		}
	}
	return kept
}

// Pick returns the changes of keys in the scope, and whether those are all.
func (s Scope) Pick(changes []ledger.Change) (in []ledger.Change, all bool) {
	if s.Everywhere() {
		return changes, true
	}
	for _, ch := range changes {
		if s.Key(string(ch.Key)) {
			in = append(in, ch)
		}
	}
	return in, len(in) == len(changes)
}

// Commit is what a caller with the scope may see of a commit, and whether that is all of
// it. The message and other fields about the whole commit are left out when it changed
// other keys too, because they can describe those.
func (s Scope) Commit(c *ledger.Commit) (shown ledger.Commit, whole bool) {
	shown = *c
	if shown.Changes, whole = s.Pick(c.Changes); !whole {
		shown.Message, shown.RequestID, shown.Origin, shown.Encoded = "", "", nil, nil
	}
	return shown, whole
}

// Strings are the scope's prefixes.
func (s Scope) Strings() []string {
	out := make([]string, len(s))
	for i, p := range s {
		out[i] = string(p)
	}
	return out
}
