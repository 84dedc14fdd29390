package watch

import (
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
)

// Selector selects keys for a watch.
type Selector struct {
	keys     []ledger.Key
	prefixes []ledger.Prefix
	// Sees is the caller's scope for reads, which contains the selected keys.
	Sees policy.Scope
}

func (s Selector) String() string {
	var b strings.Builder
	for _, k := range s.keys {
		b.WriteString("=" + string(k) + "\n")
	}
	for _, p := range s.prefixes {
		b.WriteString("^" + string(p) + "\n")
	}
	if !s.Sees.Everywhere() {
		for _, p := range s.Sees {
			b.WriteString("<" + string(p) + "\n")
		}
	}
	return b.String()
}

func (s Selector) match(k ledger.Key) bool {
	if _, ok := slices.BinarySearch(s.keys, k); ok {
		return true
	}
	return slices.ContainsFunc(s.prefixes, func(p ledger.Prefix) bool { return p.Match(k) })
}

// Pick returns the changes that the selector selects.
func (s Selector) Pick(changes []ledger.Change) []ledger.Change {
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

// Encode returns the parts of the WatchResponses that hold the selected changes of a commit. There
// are several only if the commit changes more inherited values than a change set can set.
func (s Selector) Encode(c *ledger.Commit) (bodies [][]byte) {
	shown, _ := s.Sees.Commit(c)
	changes := s.Pick(shown.Changes)
	for {
		n := ledger.Fitting(changes)
		bodies = append(bodies, encodeCommit(&shown, changes[:n], n < len(changes)))
		if changes = changes[n:]; len(changes) == 0 {
			return bodies
		}
	}
}

// tidy sorts the keys and prefixes and drops those that another prefix covers, so that equal
// selections form one group and no key is listed twice.
func (s *Selector) tidy() {
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
