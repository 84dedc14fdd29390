package patch

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/ledger"
	"pgregory.net/rapid"
)

func TestMerge(t *testing.T) {
	type conflicts = []Conflict
	for _, c := range []struct {
		name, was, mine, theirs, merged string
		conflicts                       conflicts
	}{
		{"other members", `{"a":1,"b":2}`, `{"a":10,"b":2}`, `{"a":1,"b":20}`, `{"a":10,"b":20}`, nil},
		{"the same change", `{"a":1}`, `{"a":2}`, `{"a":2.0}`, `{"a":2}`, nil},
		{"members added and removed", `{"a":1,"b":2,"c":3}`, `{"b":2,"c":3,"new":4}`, `{"a":1,"b":2,"theirs":5}`, `{"b":2,"theirs":5,"new":4}`, nil},
		{"one place", `{"a":{"x":1,"y":1}}`, `{"a":{"x":2,"y":1}}`, `{"a":{"x":3,"y":9}}`, `{"a":{"x":2,"y":9}}`, conflicts{{"/a/x", "1", "2", "3"}}},
		{"changed and removed", `{"a":1,"b":1}`, `{"b":1}`, `{"a":2,"b":1}`, `{"b":1}`, conflicts{{"/a", "1", "", "2"}}},
		{"arrays as a whole", `[1,2]`, `[0,1,2]`, `[1,2,3]`, `[0,1,2]`, conflicts{{"", "[1,2]", "[0,1,2]", "[1,2,3]"}}},
		{"both new", ``, `{"a":1}`, `{"b":1}`, `{"b":1,"a":1}`, nil},
		{"names with slashes, big numbers", `{"a/b~":1,"n":12345678901234567890123}`, `{"a/b~":2,"n":12345678901234567890123}`, `{"a/b~":3,"n":12345678901234567890124}`, `{"a/b~":2,"n":12345678901234567890124}`, conflicts{{"/a~1b~0", "1", "2", "3"}}},
	} {
		merged, got, err := Merge(ledger.Value(c.was), ledger.Value(c.mine), ledger.Value(c.theirs), func(Conflict) bool { return false })
		if err != nil || string(merged) != c.merged {
			t.Errorf("%s: %s, %v, want %s", c.name, merged, err, c.merged)
		}
		if d := cmp.Diff(c.conflicts, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
	if merged, _, err := Merge("1", "2", "3", func(Conflict) bool { return true }); err != nil || merged != "3" {
		t.Errorf("theirs was chosen: %s, %v", merged, err)
	}
}

// A side that changes nothing loses nothing of the other, and without conflicts the sides can
// be swapped.
func TestMerge_Laws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		was, mine, theirs := ledger.Value(drawn(t, "was")), ledger.Value(drawn(t, "mine")), ledger.Value(drawn(t, "theirs"))
		mineWins := func(Conflict) bool { return false }
		for _, sides := range [][2]ledger.Value{{was, mine}, {mine, was}} {
			if merged, conflicts, err := Merge(was, sides[0], sides[1], mineWins); err != nil || len(conflicts) > 0 || !merged.Equal(mine) {
				t.Fatalf("one side's change: %s, %v, %v", merged, conflicts, err)
			}
		}
		one, conflicts, err := Merge(was, mine, theirs, mineWins)
		other, swapped, err2 := Merge(was, theirs, mine, func(Conflict) bool { return true })
		if err != nil || err2 != nil || len(conflicts) != len(swapped) || !one.Equal(other) {
			t.Fatalf("%s with %d conflicts, and %s with %d, %v, %v", one, len(conflicts), other, len(swapped), err, err2)
		}
	})
}

// drawn is an object of few names, so that sides collide.
func drawn(t *rapid.T, label string) string {
	var value func(depth int) *rapid.Generator[string]
	value = func(depth int) *rapid.Generator[string] {
		if depth == 0 {
			return rapid.SampledFrom([]string{"1", "2", `"x"`, "[1]", "null"})
		}
		return rapid.Custom(func(t *rapid.T) string {
			out := ""
			for _, name := range []string{"a", "b", "c"} {
				if rapid.Bool().Draw(t, name) {
					out += `,"` + name + `":` + rapid.OneOf(value(0), value(depth-1)).Draw(t, "value")
				}
			}
			return "{" + out[min(len(out), 1):] + "}"
		})
	}
	return value(2).Draw(t, label)
}
