package promotion

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/ledger"
	"pgregory.net/rapid"
)

// never is the base of a key that was not promoted before.
const never = "never"

func baseOf(values map[ledger.Key]string) Base {
	return func(k ledger.Key) (ledger.Value, bool) {
		if values[k] == never {
			return "", false
		}
		return ledger.Value(values[k]), true
	}
}

func TestCompare(t *testing.T) {
	for _, tc := range []struct {
		name, base, from, to string
		want                 string
	}{
		{"unchanged", "1", "1", "1", "same"},
		{"the source has changed it", "1", "2", "1", "take"},
		{"the source has deleted it", "1", "", "1", "delete"},
		{"the source has set it", "", "1", "", "take"},
		{"the target has changed it", "1", "1", "2", "keep"},
		{"the target has deleted it", "1", "1", "", "keep"},
		{"the target has set it", "", "", "1", "keep"},
		{"both to one value", "1", "2", "2", "same"},
		{"both to one meaning", "1", "2", "2.0", "same"},
		{"the source writes it in another way", "1", "1.0", "2", "keep"},
		{"both to two values", "1", "2", "3", "conflict"},
		{"both have set it", "", "1", "2", "conflict"},
		{"changed here, deleted there", "1", "2", "", "conflict"},
		{"deleted here, changed there", "1", "", "2", "conflict"},
		{"first: only in the source", never, "1", "", "take"},
		{"first: only in the target", never, "", "1", "keep"},
		{"first: both differ", never, "1", "2", "conflict"},
		{"first: both are equal", never, "1", "1", "same"},
	} {
		of := func(v string) Settings {
			if v == "" {
				return Settings{}
			}
			return Settings{"k": ledger.Value(v)}
		}
		p := Compare(of(tc.from), of(tc.to), baseOf(map[ledger.Key]string{"k": tc.base}))
		got := "same"
		switch {
		case len(p.Conflicts) == 1 && p.Conflicts[0].First == (tc.base == never):
			got = "conflict"
		case len(p.Kept) == 1:
			got = "keep"
		case len(p.Changes) == 1 && p.Changes[0].Delete:
			got = "delete"
		case len(p.Changes) == 1 && p.Changes[0].Value == ledger.Value(tc.from):
			got = "take"
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestPlan_Resolve(t *testing.T) {
	p := Compare(Settings{"a/b/c": "1", "a/b/d": "1", "a/x": "1", "z": "1"}, Settings{"a/b/c": "2", "a/b/d": "2", "a/x": "2", "z": "2"},
		baseOf(map[ledger.Key]string{"a/b/c": never, "a/b/d": never, "a/x": never, "z": never}))
	p.Resolve(ByPattern([]ledger.Pattern{"a", "a/b/d"}, []ledger.Pattern{"a/b/"}))
	want := Plan{
		Changes:   []ledger.Change{{Key: "a/b/d", Value: "1"}, {Key: "a/x", Value: "1"}},
		Kept:      []ledger.Key{"a/b/c"},
		Conflicts: []Conflict{{Key: "z", From: "1", To: "2", First: true}},
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A repeated promotion does nothing, the changes of the target alone stay, and all other keys
// are as in the source.
func TestCompare_Promoted(t *testing.T) {
	values := rapid.MapOf(rapid.SampledFrom([]ledger.Key{"a", "b", "c", "d", "e"}), rapid.SampledFrom([]ledger.Value{"1", "2", "3"}))
	rapid.Check(t, func(rt *rapid.T) {
		from, to, was := Settings(values.Draw(rt, "from")), Settings(values.Draw(rt, "to")), values.Draw(rt, "base")
		based := func(s Settings) Base {
			return func(k ledger.Key) (ledger.Value, bool) { return s[k], true }
		}
		p := Compare(from, to, based(was))
		theirs := rapid.Bool().Draw(rt, "theirs")
		all := []ledger.Pattern{""}
		if theirs {
			p.Resolve(ByPattern(all, nil))
		} else {
			p.Resolve(ByPattern(nil, all))
		}
		if len(p.Conflicts) > 0 {
			rt.Fatalf("unresolved: %v", p.Conflicts)
		}
		after := Settings{}
		for k, v := range to {
			after[k] = v
		}
		for _, ch := range p.Changes {
			if ch.Delete {
				delete(after, ch.Key)
			} else {
				after[ch.Key] = ch.Value
			}
		}
		for _, k := range []ledger.Key{"a", "b", "c", "d", "e"} {
			want := from[k]
			if from[k] == was[k] || to[k] != was[k] && !theirs {
				want = to[k]
			}
			if after[k] != want {
				rt.Fatalf("%s is %q, want %q: base %q, from %q, to %q", k, after[k], want, was[k], from[k], to[k])
			}
		}
		if again := Compare(from, after, based(from)); len(again.Changes)+len(again.Conflicts) > 0 {
			rt.Fatalf("the second promotion: %v", again)
		}
	})
}

func TestCovers(t *testing.T) {
	o := &ledger.PromotionOrigin{Keys: "a/b/", Left: []ledger.Key{"a/b/left"}}
	for k, want := range map[ledger.Key]bool{
		"a/b/c": true, "a/b": false, "a/b/left": false, "x": false, "_schema/a/b": true, "_schema/a/b/c": true, "_schema/a/bc": false, "_schema/a": false, "_bases/list": false,
	} {
		if got := Covers(o, k); got != want {
			t.Errorf("%s is covered: %t", k, got)
		}
	}
	all := &ledger.PromotionOrigin{}
	if !Covers(all, "x") || !Covers(all, "_schema/x") || Covers(all, ledger.BasesKey) {
		t.Error("a promotion of all keys covers all keys and schemas, and no list of bases")
	}
}
