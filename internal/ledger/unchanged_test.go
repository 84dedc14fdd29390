package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
)

func TestCommit_WithoutAChangeWritesNothing(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	changes := func(kv ...string) []ledger.Change { // no value: deleted
		var out []ledger.Change
		for i := 0; i < len(kv); i += 2 {
			out = append(out, ledger.Change{Key: ledger.Key(kv[i]), Value: ledger.Value(kv[i+1]), Delete: kv[i+1] == ""})
		}
		return out
	}
	head := ledger.Revision(0)
	for _, tc := range []struct {
		name    string
		set     ledger.ChangeSet
		written []string // keys in the commit; nil: nothing is written
	}{
		{"a key that was never set is deleted in an empty tenant", ledger.ChangeSet{Changes: changes("a/b", "")}, nil},
		{"new keys", ledger.ChangeSet{Changes: changes("a/b", "1", "a/c", `{"x":1,"y":"ä"}`)}, []string{"a/b", "a/c"}},
		{"the same again", ledger.ChangeSet{Changes: changes("a/b", "1", "a/c", `{"x":1,"y":"ä"}`)}, nil},
		{"the same in other words", ledger.ChangeSet{Changes: changes("a/b", "1.0", "a/c", `{"y":"\u00e4","x":1e0}`)}, nil},
		{"a deletion of nothing", ledger.ChangeSet{Changes: changes("a/none", "")}, nil},
		{"one of three changes", ledger.ChangeSet{Changes: changes("a/b", "1", "a/c", "2", "a/none", "")}, []string{"a/c"}},
		{"a number that floats confuse", ledger.ChangeSet{Changes: changes("a/b", "9007199254740993")}, []string{"a/b"}},
		{"its neighbor", ledger.ChangeSet{Changes: changes("a/b", "9007199254740992")}, []string{"a/b"}},
		{"a deletion", ledger.ChangeSet{Changes: changes("a/b", "")}, []string{"a/b"}},
		{"a deletion of what is deleted", ledger.ChangeSet{Changes: changes("a/b", "")}, nil},
		{"an empty commit that is wanted", ledger.ChangeSet{Changes: changes("a/b", "", "a/c", "2"), AllowEmpty: true}, []string{"a/b", "a/c"}},
		{"a line of a history", ledger.ChangeSet{Changes: changes("a/c", "2"), Import: &ledger.Import{Time: time.Now().Add(30 * time.Second), Importer: "ann"}}, []string{"a/c"}},
	} {
		got, err := n.Ledger.Commit(t.Context(), acme, tc.set)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if tc.written != nil {
			head++
		}
		if got.Revision != head || got.Unchanged != (tc.written == nil) || got.Repeated {
			t.Errorf("%s: %+v, want revision %d", tc.name, got, head)
		}
		v, err := n.Replica.View(acme, replica.At{})
		if err != nil {
			t.Fatal(err)
		}
		if v.State().Head != head {
			t.Errorf("%s: the head is %s, want %s", tc.name, v.State().Head, head)
		}
		if tc.written != nil {
			c, err := v.Commit(head)
			if err != nil {
				t.Fatal(err)
			}
			var keys []string
			for _, ch := range c.Changes {
				keys = append(keys, string(ch.Key))
			}
			if d := cmp.Diff(tc.written, keys); d != "" || c.ID != got.ID {
				t.Errorf("%s: the commit's keys (-want +got):\n%s", tc.name, d)
			}
		} else if head > 0 {
			if c, err := v.Commit(head); err != nil || c.ID != got.ID || !c.Time.Equal(got.Time) {
				t.Errorf("%s: the result is %+v, and not the head; %v", tc.name, got, err)
			}
		}
		v.Close()
	}
}

// A precondition that does not hold is an error also if nothing would change.
func TestCommit_WithoutAChangeIsCheckedAllTheSame(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	if _, err := n.Ledger.Commit(t.Context(), acme, set("a/b", "1")); err != nil {
		t.Fatal(err)
	}
	cs := set("a/b", "1")
	cs.Preconditions = []ledger.Precondition{{Key: "a/b", Revision: 7}}
	if got, err := n.Ledger.Commit(t.Context(), acme, cs); err == nil {
		t.Errorf("it is answered with %+v", got)
	}
}

// In one record, each change set is compared with what the ones before it leave, and
// in two processes with what the other one has written.
func TestCommit_IsComparedWithTheCommitBefore(t *testing.T) {
	server := ledgertest.Server(t)
	a, b := ledgertest.Start(t, server, ledgertest.Config{}), ledgertest.Start(t, server, ledgertest.Config{})
	var last *ledger.Pending
	var all []*ledger.Pending
	for i := range 100 {
		p, err := a.Ledger.Submit(t.Context(), acme, set("a/b", fmt.Sprint(i/2)), last)
		if err != nil {
			t.Fatal(err)
		}
		all, last = append(all, p), p
	}
	for i, p := range all {
		got, err := p.Wait(t.Context())
		if err != nil || got.Revision != ledger.Revision(i/2+1) || got.Unchanged != (i%2 == 1) {
			t.Fatalf("change set %d: %+v, %v", i, got, err)
		}
	}
	if got, err := b.Ledger.Commit(t.Context(), acme, set("a/b", "49")); err != nil || !got.Unchanged || got.Revision != 50 {
		t.Errorf("in the other process: %+v, %v", got, err)
	}
	if got, err := a.Ledger.Commit(t.Context(), acme, set("a/b", "0")); err != nil || got.Unchanged {
		t.Errorf("back to the first value: %+v, %v", got, err)
	}
	if got, err := b.Ledger.Commit(t.Context(), acme, set("a/b", "49")); err != nil || got.Unchanged || got.Revision != 52 {
		t.Errorf("what the other process has overwritten: %+v, %v", got, err)
	}
}
