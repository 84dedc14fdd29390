package ledger

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Every part that a split names fits a commit, and together they are everything.
func TestSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfNDistinct(rapid.StringMatching(`[ab]{1,2}(/[ab]{1,2}){0,3}`), 1, 60, rapid.ID).Draw(t, "keys")
		slices.Sort(keys)
		heavy := Value(strings.Repeat("x", rapid.IntRange(1, MaxChangeSet/3).Draw(t, "weight")))
		changes := make([]Change, len(keys))
		for i, key := range keys {
			changes[i] = Change{Key: Key(key), Value: heavy}
		}
		left := slices.Clone(changes)
		for _, p := range split("", changes) {
			taken := slices.DeleteFunc(slices.Clone(left), func(ch Change) bool { return !p.prefix.Match(ch.Key) })
			left = slices.DeleteFunc(left, func(ch Change) bool { return p.prefix.Match(ch.Key) })
			if len(taken) != p.changes || len(taken) == 0 {
				t.Fatalf("%s is said to have %d changes and has %d of those left", p.prefix, p.changes, len(taken))
			}
			if err := fits("prefix", "split", p.prefix, taken); err != nil {
				t.Fatal(err)
			}
		}
		if len(left) > 0 {
			t.Fatalf("%d changes are in no part, first %s", len(left), left[0].Key)
		}
	})
}
