package projector_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
)

// Changes while a store is being filled are written before the rest of the backfill, in
// the tenant that is filled and in others. The status reports how much is left.
func TestBackfill_NewChangesGoFirst(t *testing.T) {
	w := newWorld(t, toStore)
	const keys = 12_000 // more than are read ahead
	var cs ledger.ChangeSet
	for i := range keys {
		cs.Changes = append(cs.Changes, ledger.Change{Key: ledger.Key(fmt.Sprintf("a/%05d", i)), Value: "1"})
		if len(cs.Changes) == 1000 {
			if _, err := w.node.Ledger.Commit(t.Context(), "acme", cs); err != nil {
				t.Fatal(err)
			}
			cs.Changes = nil
		}
	}
	for i := range 70 { // more commits than are read one by one
		w.commit("acme", map[ledger.Key]string{"a/00000": fmt.Sprint(i)})
	}
	w.store.pace = make(chan struct{})
	w.start(w.node, true)
	step := func() { w.store.pace <- struct{}{} }
	for range 10 {
		step()
	}
	st := w.status("store", "acme")
	if st.Pending < keys-100 || st.Pending > keys+100 {
		t.Errorf("%d keys are pending of %d", st.Pending, keys)
	}
	w.commit("acme", map[ledger.Key]string{"a/11999": `"new"`, "a/00700": `"new"`, "a/new": "1"})
	w.commit("globex", map[ledger.Key]string{"a/new": "1"})
	until(t, func() bool { return w.status("store", "globex").Head == 1 }, func() string { return "globex" })
	// In the order of the backfill, none of them would be among the first 700.
	fresh := []string{"acme:a/11999", "acme:a/00700", "acme:a/new", "globex:a/new"}
	missing := func() (names []string, of int) {
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		return slices.DeleteFunc(slices.Clone(fresh), func(name string) bool { return slices.Contains(w.store.order, name) }), len(w.store.order)
	}
	for range 100 { // of 5 writes
		if names, _ := missing(); len(names) == 0 {
			break
		}
		step()
	}
	until(t, func() bool {
		names, of := missing()
		return len(names) == 0 || of >= 500
	}, func() string { return "writes" })
	if names, of := missing(); len(names) > 0 {
		t.Errorf("%q are not among the first %d", names, of)
	}
	close(w.store.pace)
	w.equal("a/", "acme", "globex")
	until(t, func() bool { return w.status("store", "").Pending == 0 }, func() string { return w.status("store", "").String() })
}

// Parked keys are removed with their route, and with their sink.
func TestParkedKeys_GoWithTheirRoute(t *testing.T) {
	w := newWorld(t, toStore)
	w.store.refuse = func(wr projector.Write) error { return projector.Refuse("%s is bad", wr.Key) }
	w.start(w.node, true)
	route := func(table string) {
		w.commit(ledger.System, map[ledger.Key]string{routes.Key: table})
	}
	route(`{"sinks":{"store":{}},"routes":[{"prefix":"a/","sinks":["store"]},{"prefix":"b/","sinks":["store"]}]}`)
	w.commit("acme", map[ledger.Key]string{"a/bad": "1", "b/bad": "1"})
	parked := func(n int) {
		t.Helper()
		until(t, func() bool { return len(w.parked("store", "")) == n }, func() string { return fmt.Sprint(w.parked("store", "")) })
	}
	parked(2)
	route(toStore)
	parked(1)
	if l := w.parked("store", "")[0]; l.Key != "a/bad" {
		t.Errorf("%s is left", l.Key)
	}
	route(`{"sinks":{},"routes":[]}`)
	parked(0)
}
