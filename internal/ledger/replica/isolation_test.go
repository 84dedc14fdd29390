package replica_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// churn is a long history over a few keys: commit n sets one and deletes
// another.
func churn(n int) ledger.ChangeSet {
	set := ledger.ChangeSet{RequestID: fmt.Sprint("r", n), AllowEmpty: true, Changes: []ledger.Change{
		{Key: hostileKeys[n%len(hostileKeys)], Value: ledger.Value(fmt.Sprint(n))},
	}}
	if other := n * 7 % len(hostileKeys); other != n%len(hostileKeys) {
		set.Changes = append(set.Changes, ledger.Change{Key: hostileKeys[other], Delete: true})
	}
	return set
}

func TestView_IsASnapshot(t *testing.T) {
	const commits = 1500
	n := start(t, filepath.Join(t.TempDir(), "replica.db"), newFakeJournal())
	defer n.close(t)
	// The readers compare with a model that is made before anything is written.
	h := newHistory("acme")
	for i := 1; i <= commits; i++ {
		h.add(t, churn(i), ledger.Result{Revision: ledger.Revision(i)})
	}
	written := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		defer close(written)
		for i := 1; i <= commits; i++ {
			if _, err := n.ledger.Commit(t.Context(), h.tenant, churn(i)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	over := func() bool {
		select {
		case <-written:
			return true
		default:
			return false
		}
	}
	running.Go(func() {
		for !over() {
			if err := n.Flush(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 3 {
		running.Go(func() {
			for !over() {
				v, err := n.View(h.tenant, replica.At{})
				if err != nil {
					t.Error(err)
					return
				}
				opened := v.State().Revision
				for n.Head(h.tenant).Revision < opened+20 && !over() { // both must continue under it
					if err := h.compareView(v, opened, hostileKeys, prefixes[:3]); err != nil {
						t.Error(err)
						v.Close()
						return
					}
				}
				if err := h.compareView(v, opened, hostileKeys, prefixes); err != nil {
					t.Error(err)
				}
				v.Close()
			}
		})
	}
	running.Wait()
}

func TestView_HidesLaterCommits(t *testing.T) {
	n := start(t, filepath.Join(t.TempDir(), "replica.db"), newFakeJournal())
	defer n.close(t)
	h := newHistory("acme")
	h.write(t, n.ledger, churn(1))
	v, err := n.View(h.tenant, replica.At{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	h.write(t, n.ledger, churn(2))
	unknown := func(when string) {
		if rev, ok, err := v.Request(requestOf(ledger.ChangeSet{RequestID: "r2"})); ok || err != nil {
			t.Errorf("%s: request = %s, %v, %v", when, rev, ok, err)
		}
		id := h.commits[1].ID
		if rev, err := v.FindID(id[:]); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("%s: find id = %s, %v", when, rev, err)
		}
		var out *ledger.RangeError
		if _, err := v.Commit(2); !errors.As(err, &out) || out.Head != 1 {
			t.Errorf("%s: commit = %v", when, err)
		}
	}
	unknown("the commit is in the tail")
	if err := n.Flush(); err != nil {
		t.Fatal(err)
	}
	unknown("the commit is in the file")
}
