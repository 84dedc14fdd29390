package gateway

import (
	"slices"
	"strings"

	"github.com/stelehq/stele/gateway/policy"
	"github.com/stelehq/stele/ledger"
)

// selector is the selection of a watch.
type selector struct {
	keys     []ledger.Key
	prefixes []ledger.Prefix
	// sees is what the caller may read; everything selected is within it.
	sees policy.Scope
}

func (s selector) String() string {
	var b strings.Builder
	for _, k := range s.keys {
		b.WriteString("=" + string(k) + "\n")
	}
	for _, p := range s.prefixes {
		b.WriteString("^" + string(p) + "\n")
	}
	if !s.sees.Everywhere() {
		for _, p := range s.sees {
			b.WriteString("<" + string(p) + "\n")
		}
	}
	return b.String()
}

func (s selector) match(k ledger.Key) bool {
	if _, ok := slices.BinarySearch(s.keys, k); ok {
		return true
	}
	return slices.ContainsFunc(s.prefixes, func(p ledger.Prefix) bool { return p.Match(k) })
}

// pick returns the changes that the selector selects.
func (s selector) pick(changes []ledger.Change) []ledger.Change {
	if slices.Contains(s.prefixes, "") {
		return changes
	}
	var out []ledger.Change
	for _, ch := range changes {
		if s.match(ch.Key) {
			out = append(out, ch)
		}
	}
	return out
}

// encode is the part of a WatchResponse with the selected changes of a commit.
func (s selector) encode(c *ledger.Commit) []byte {
	shown, _ := s.sees.Commit(c)
	return encodeCommit(&shown, s.pick(shown.Changes))
}

// tidy sorts the selection and drops prefixes that another one covers, so that equal
// selections are one group and nothing is listed twice.
func (s *selector) tidy() {
	slices.Sort(s.keys)
	s.keys = slices.Compact(s.keys)
	slices.Sort(s.prefixes)
	var kept []ledger.Prefix
	for _, p := range s.prefixes {
		if len(kept) == 0 || !kept[len(kept)-1].Match(ledger.Key(p)) {
			kept = append(kept, p)
		}
	}
	s.prefixes = kept
}
