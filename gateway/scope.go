package gateway

import (
	"slices"
	"strings"

	"github.com/stelehq/stele/ledger"
)

// scope is where something is allowed: on the keys that begin with one of the
// prefixes. Without prefixes it is nowhere.
type scope []ledger.Prefix

var everywhere = scope{""}

func (s scope) everywhere() bool { return slices.Contains(s, "") }

// key says whether it is allowed on a key.
func (s scope) key(k string) bool { return s.prefix(k) }

// prefix says whether it is allowed on all keys that begin with the prefix. That
// two prefixes together may be all that it selects does not count.
func (s scope) prefix(p string) bool {
	return slices.ContainsFunc(s, func(allowed ledger.Prefix) bool { return strings.HasPrefix(p, string(allowed)) })
}

// within is the part of the scope that is in the limit, too; a nil limit is none.
func (s scope) within(limit []ledger.Prefix) scope {
	if limit == nil {
		return s
	}
	var both scope
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
func (s scope) tidy() scope {
	slices.Sort(s)
	var kept scope
	for _, p := range s {
		if !kept.prefix(string(p)) {
			kept = append(kept, p)
		}
	}
	return kept
}

// pick returns the changes of keys in the scope, and whether those are all.
func (s scope) pick(changes []ledger.Change) (in []ledger.Change, all bool) {
	if s.everywhere() {
		return changes, true
	}
	for _, ch := range changes {
		if s.key(string(ch.Key)) {
			in = append(in, ch)
		}
	}
	return in, len(in) == len(changes)
}

// commit is what may be told of a commit that changed keys in the scope, and whether
// that is all of it. What speaks of the whole, as its message does, may tell of the
// other keys.
func (s scope) commit(c *ledger.Commit) (shown ledger.Commit, whole bool) {
	shown = *c
	if shown.Changes, whole = s.pick(c.Changes); !whole {
		shown.Message, shown.RequestID, shown.Origin, shown.Encoded = "", "", nil, nil
	}
	return shown, whole
}

func (s scope) strings() []string {
	out := make([]string, len(s))
	for i, p := range s {
		out[i] = string(p)
	}
	return out
}
