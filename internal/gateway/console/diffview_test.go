package console_test

import (
	"strings"
	"testing"
)

// The query chooses how differences are shown, and the browser keeps the choice.
func TestDiffView_QueryIsKept(t *testing.T) {
	f := start(t)
	f.set(t, f.as(t, "acme"), "one", "a/b", "1")
	f.set(t, f.as(t, "acme"), "two", "a/b", "2")
	v := f.writer(t, "acme")
	split := func(path string) bool {
		t.Helper()
		a := v.get(t, path)
		wellMade(t, a)
		return strings.Contains(a.body, `value="split" id="diff-split" checked`)
	}
	for _, tc := range []struct {
		path string
		want bool
	}{
		{"/acme/commits/2", false},
		{"/acme/commits/2?diff=split", true},
		{"/acme/compare?from=@1", true},
		{"/acme@1/rollback", true},
		{"/acme/commits/2/revert", true},
		{"/acme/keys/a/b", true},
		{"/acme/commits/2?diff=other", false},
		{"/acme/commits/2", true},
		{"/acme/commits/2?diff=unified", false},
		{"/acme/compare?from=@1", false},
	} {
		if got := split(tc.path); got != tc.want {
			t.Errorf("%s: split %t, want %t", tc.path, got, tc.want)
		}
	}
}
