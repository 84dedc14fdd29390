package ledger_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// Two processes write and revert at once. Each revert undoes the writer's own last
// commit, whatever has become the head: none is lost and none is rejected.
func TestRevert_ConcurrentWriters(t *testing.T) {
	const writers, rounds = 4, 15
	s := ledgertest.Server(t)
	nodes := []*ledgertest.Node{ledgertest.Start(t, s, ledgertest.Config{}), ledgertest.Start(t, s, ledgertest.Config{})}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			l, key := nodes[w%len(nodes)].Ledger, fmt.Sprint("w/", w)
			for i := range rounds {
				if _, err := l.Commit(t.Context(), acme, set(key, fmt.Sprint(i))); err != nil {
					t.Error(err)
					return
				}
				wrong, err := l.Commit(t.Context(), acme, set(key, `"wrong"`))
				if err != nil {
					t.Error(err)
					return
				}
				done, err := l.Revert(t.Context(), acme, ledger.Revert{Revisions: []ledger.Revision{wrong.Revision}})
				if err != nil || done.Result == nil {
					t.Errorf("revert %s: %v, %v", wrong.Revision, done, err)
				}
			}
		})
	}
	all.Wait()
	for _, n := range nodes { // each has its own last writes already
		if err := nodes[0].Replica.Wait(t.Context(), acme, n.Replica.Head(acme).Revision); err != nil {
			t.Fatal(err)
		}
	}
	v, err := nodes[0].Replica.View(acme, replica.At{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for w := range writers {
		if e, ok, err := v.Get(ledger.Key(fmt.Sprint("w/", w))); err != nil || !ok || e.Value != ledger.Value(fmt.Sprint(rounds-1)) {
			t.Errorf("writer %d left %v, %v, %v; want %d", w, e, ok, err, rounds-1)
		}
	}
	if want := ledger.Revision(writers * rounds * 3); v.Head().Revision < want-writers*rounds || v.Head().Revision > want {
		t.Errorf("head %s after %d commits", v.Head().Revision, want)
	}
}

func TestRollback_EqualMeaningChangesNothing(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	for _, cs := range []ledger.ChangeSet{set("a", `{"x":1,"y":[1e2]}`, "b", "1"), set("a", `{"y":[100],"x":1.0}`, "b", "1.5")} {
		if _, err := n.Ledger.Commit(t.Context(), acme, cs); err != nil {
			t.Fatal(err)
		}
	}
	done, err := n.Ledger.Rollback(t.Context(), acme, ledger.Rollback{To: 1})
	if err != nil || len(done.Changes) != 1 || done.Changes[0].Key != "b" {
		t.Fatalf("%v, %v; want only b to change", done, err)
	}
}

func TestRollback_RejectedWritesNothing(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	for i := range 3 {
		if _, err := n.Ledger.Commit(t.Context(), acme, set("a", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	head := ledger.Revision(2)
	var moved *ledger.ConflictError
	_, err := n.Ledger.Rollback(t.Context(), acme, ledger.Rollback{To: 1, Request: ledger.Request{ExpectedHead: &head}})
	if want := []ledger.Conflict{{Expected: 2, Actual: 3}, {Key: "a", Expected: 2, Actual: 3}}; !errors.As(err, &moved) || !slices.Equal(moved.Conflicts, want) {
		t.Errorf("%v, want %v", err, want)
	}
	var outside *ledger.RangeError
	if _, err := n.Ledger.Rollback(t.Context(), acme, ledger.Rollback{To: 4}); !errors.As(err, &outside) {
		t.Errorf("to a revision that is not there: %v", err)
	}
	if _, err := n.Ledger.Revert(t.Context(), acme, ledger.Revert{Revisions: []ledger.Revision{4}}); !errors.As(err, &outside) {
		t.Errorf("of a revision that is not there: %v", err)
	}
	if head := n.Replica.Head(acme).Revision; head != 3 {
		t.Errorf("the head is %s, want @3", head)
	}
}
