package ledger_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/ledger"
)

func TestPattern_Names(t *testing.T) {
	for _, tc := range []struct {
		pattern ledger.Pattern
		want    []ledger.Name
	}{
		{"", nil},
		{"a/b", []ledger.Name{"a/b", "a/b/"}},
		{"a/b/", []ledger.Name{"a/b/"}},
		{"a/b*", []ledger.Name{"a/b*"}},
		{"*", []ledger.Name{"*"}},
	} {
		got := tc.pattern.Names()
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.pattern, diff)
		}
		for _, k := range []ledger.Key{"a", "a/b", "a/b/c", "a/bc", "x"} {
			match := len(got) == 0
			for _, n := range got {
				match = match || n.Match(k)
			}
			if match != tc.pattern.Match(k) {
				t.Errorf("the names of %q and the pattern differ for %s", tc.pattern, k)
			}
		}
	}
}

func TestCopyOrigin_Earlier(t *testing.T) {
	for _, tc := range []struct{ from, to, name, want ledger.Name }{
		{"old", "new", "new", "old"},
		{"old", "new", "old", ""},
		{"old", "new", "new/x", ""},
		{"old", "new", "ne*", "old"},
		{"old", "a/new", "a/", "old"},
		{"old", "a/new", "b/", ""},
		{"old/", "new/", "new", ""},
		{"old/", "new/", "new/x", "old/x"},
		{"old/", "new/", "new/", "old/"},
		{"old/", "new/", "new/x/", "old/x/"},
		{"old/", "new/", "new/x*", "old/x*"},
		{"old/", "new/", "ne*", "old/"},
		{"old/", "new/", "newer/", ""},
		{"old/", "a/new/", "a/", "old/"},
		{"old/", "a/new/", "*", "old/"},
	} {
		o := &ledger.CopyOrigin{From: tc.from, To: tc.to}
		if got := o.Earlier(tc.name); got != tc.want {
			t.Errorf("%s of the copy of %s to %s was %q, want %q", tc.name, tc.from, tc.to, got, tc.want)
		}
	}
}
