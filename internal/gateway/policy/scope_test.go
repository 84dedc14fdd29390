package policy

import (
	"testing"

	"github.com/stelehq/stele/internal/ledger"
)

// A commit whose changes are all in the scope can still show other keys by its origin and
// message.
func TestScope_CommitOrigin(t *testing.T) {
	limited := Scope{"_bases/", "open/"}
	for _, tc := range []struct {
		name   string
		key    ledger.Key
		origin ledger.Origin
		whole  bool
	}{
		{"no origin", "open/a", nil, true},
		{"a rollback", "open/a", &ledger.RollbackOrigin{Revision: 1}, true},
		{"a copy inside", "open/a", &ledger.CopyOrigin{From: "open/b", To: "open/a"}, true},
		{"a copy from outside", "open/a", &ledger.CopyOrigin{From: "closed/b", To: "open/a"}, false},
		{"a promotion that left keys inside", "open/a", &ledger.PromotionOrigin{Left: []ledger.Key{"open/b"}}, true},
		{"a promotion that left a key outside", "open/a", &ledger.PromotionOrigin{Left: []ledger.Key{"open/b", "closed/b"}}, false},
		{"a base's commit", ledger.BasesKey, &ledger.BaseOrigin{Base: "defaults", Revision: 2}, false},
	} {
		c := &ledger.Commit{Message: "why", RequestID: "r", RequestHash: []byte{1}, Encoded: []byte{1}, Origin: tc.origin, Changes: []ledger.Change{{Key: tc.key}}}
		for name, s := range map[string]Scope{"limited": limited, "everywhere": everywhere} {
			shown, whole := s.Commit(c)
			want := tc.whole || name == "everywhere"
			if whole != want || (shown.Message != "") != want || (shown.Origin != nil) != (want && tc.origin != nil) || (len(shown.Encoded) > 0) != want {
				t.Errorf("%s, %s: whole %t, %+v", tc.name, name, whole, shown)
			}
			if len(shown.Changes) != 1 {
				t.Errorf("%s, %s: changes %v", tc.name, name, shown.Changes)
			}
		}
	}
}
