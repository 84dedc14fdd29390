package replica_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// TestBases_NotHeld reads states of an edge that name a base of which the edge holds no commit:
// they cannot be read, whatever the edge holds of the tenant itself.
func TestBases_NotHeld(t *testing.T) {
	const pin, inherited = 3, ledger.Key("c/inherited")
	set := func(t *testing.T, core *node, tenant ledger.Tenant, key ledger.Key, value string) ledger.Revision {
		t.Helper()
		got, err := core.ledger.Commit(t.Context(), tenant, ledger.ChangeSet{Author: "ann", Changes: []ledger.Change{{Key: key, Value: ledger.Value(value)}}})
		if err != nil {
			t.Fatal(err)
		}
		return got.Revision
	}
	begin := func(t *testing.T, h replica.History) (*node, *edge) {
		core := start(t, filepath.Join(t.TempDir(), "core.db"), newFakeJournal())
		t.Cleanup(func() { core.close(t) })
		for i := range pin {
			set(t, core, "old", inherited, fmt.Sprint(i))
		}
		for i := range 10 {
			set(t, core, "acme", "c/own", fmt.Sprint(i))
		}
		e := startEdge(t, filepath.Join(t.TempDir(), "edge.db"), core.Replica, h, "acme")
		t.Cleanup(func() { e.close(t) })
		return core, e
	}
	attach := func(t *testing.T, core *node) ledger.Revision {
		return set(t, core, "acme", ledger.BasesKey, fmt.Sprintf(`[{"tenant":"old","revision":%d}]`, pin))
	}
	view := func(t *testing.T, e *edge, at ledger.Revision) *replica.View {
		t.Helper()
		v, err := e.View("acme", replica.At{Revision: at})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(v.Close)
		return v
	}

	past := func(t *testing.T, h replica.History, prune bool) {
		core, e := begin(t, h)
		if prune {
			e.pull(t, core.Replica, 100, "acme")
			if err := e.Flush(); err != nil {
				t.Fatal(err)
			}
			if err := e.Prune(time.Now().Add(24*time.Hour), 1000, func(int) {}); err != nil {
				t.Fatal(err)
			}
			if start, _, ok, err := view(t, e, 0).HistoryStart(); err != nil || !ok || start <= pin {
				t.Fatalf("the history starts at %s, %v, %v; want one after the pin", start, ok, err)
			}
		}
		attached := attach(t, core)
		set(t, core, "acme", ledger.BasesKey, `[]`)
		head := set(t, core, "acme", "c/own", `"last"`)
		e.pull(t, core.Replica, 100, "acme")

		v, now := view(t, e, attached), view(t, e, 0)
		_, _, getErr := v.Get(inherited)
		_, versionErr := now.Version(inherited, attached)
		for what, err := range map[string]error{"Get": getErr, "Version": versionErr, "List": drain(v.List("", "")), "Diff": drain(now.Diff(attached, head, "", ""))} {
			var notKept *ledger.HistoryError
			if !errors.As(err, &notKept) || notKept.Tenant != "old" || notKept.Revision != pin {
				t.Errorf("%s: %v, want that old@%d is not kept", what, err, pin)
			}
		}
		// All other states can be read.
		if _, ok, err := now.Get(inherited); ok || err != nil {
			t.Errorf("at the head: %v, %v; want not set", ok, err)
		}
		if is, _, err := view(t, e, attached-1).Get("c/own"); err != nil || is.Value != "9" {
			t.Errorf("before the base was attached: %+v, %v", is, err)
		}
		if current, err := e.Check(t.Context()); !current || err != nil {
			t.Errorf("the file is the same: %v, %v", current, err)
		}
	}
	t.Run("a base of a past list", func(t *testing.T) { past(t, replica.History{}, false) })
	t.Run("a base of a past list, pinned before the history that is kept", func(t *testing.T) {
		past(t, replica.History{For: time.Hour}, true)
	})
	t.Run("a new base whose commits follow", func(t *testing.T) {
		core, e := begin(t, replica.History{})
		attach(t, core)
		e.pull(t, core.Replica, 100, "acme")
		if _, _, err := view(t, e, 0).Get(inherited); !errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("before its commits: %v, want unavailable", err)
		}
		e.pull(t, core.Replica, 100, "old")
		if is, _, err := view(t, e, 0).Get(inherited); err != nil || is.Value != "2" {
			t.Errorf("after its commits: %+v, %v", is, err)
		}
	})
}
