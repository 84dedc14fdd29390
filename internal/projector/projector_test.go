package projector_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	sinkstatev1 "github.com/stelehq/stele/internal/projector/sinkstate/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
)

const toStore = `{"sinks":{"store":{}},"routes":[{"prefix":"a/","sinks":["store"]}]}`

// A store equals the replica for its routes, whatever was committed before the
// projector began, and after a restart it continues where it was.
func TestStore_FollowsTheLedger(t *testing.T) {
	for _, whole := range []bool{false, true} {
		t.Run(fmt.Sprintf("whole=%v", whole), func(t *testing.T) {
			w := newWorld(t, toStore)
			w.store.whole = whole
			w.commit("acme", map[ledger.Key]string{"a/1": "1", "a/2": "2", "b/1": "3"})
			for i := range 100 { // more than are read one by one
				w.commit("globex", map[ledger.Key]string{ledger.Key(fmt.Sprintf("a/%d", i%30)): fmt.Sprint(i)})
			}
			w.commit("globex", map[ledger.Key]string{"a/7": ""})
			p := w.start(w.node, true)
			w.equal("a/", "acme", "globex")
			w.commit("acme", map[ledger.Key]string{"a/1": "", "a/3": `"x"`})
			w.equal("a/", "acme", "globex")
			until(t, func() bool {
				st := w.status("store", "")
				return st.LagRevisions == 0 && st.Failures == 0
			}, func() string { return w.status("store", "").String() })
			if st := w.status("store", "acme"); st.Position != 2 || st.Head != 2 {
				t.Errorf("the position of acme is %d of %d", st.Position, st.Head)
			}
			p.Close()
			before := w.store.puts()
			w.commit("acme", map[ledger.Key]string{"a/9": "9"})
			w.start(w.node, true)
			w.equal("a/", "acme", "globex")
			if n := w.store.puts() - before; n != 1 {
				t.Errorf("after a restart, %d items were written for one change", n)
			}
		})
	}
}

// A key that is refused is parked; nothing waits for it; it can be tried again, and
// given up, and it is tried again when it changes.
func TestParkedKeys(t *testing.T) {
	w := newWorld(t, toStore)
	refused := func(wr projector.Write) error {
		if wr.Key == "a/bad" && len(wr.Value) > 3 {
			return projector.Refuse("it has %d bytes, more than 3", len(wr.Value))
		}
		return nil
	}
	w.store.refuse = refused
	w.start(w.node, true)
	w.commit("acme", map[ledger.Key]string{"a/bad": "12345", "a/good": "1"})
	until(t, func() bool { return len(w.parked("store", "acme")) == 1 }, func() string { return "parked" })
	if l := w.parked("store", "")[0]; l.Key != "a/bad" || l.Revision != 1 || l.Reason != "it has 5 bytes, more than 3" || l.Skipped {
		t.Errorf("parked is %v", l)
	}
	until(t, func() bool { return w.status("store", "acme").Position == 1 }, func() string { return w.status("store", "acme").String() })

	retry := func() uint32 {
		return w.ask("store", &sinkstatev1.Order{Order: &sinkstatev1.Order_Retry{Retry: &stelev1.RetryRequest{}}}).Retry.Retried
	}
	if n := retry(); n != 1 {
		t.Errorf("%d keys are tried again", n)
	}
	until(t, func() bool {
		l := w.parked("store", "")[0]
		return l.Since.AsTime().After(time.Now().Add(-time.Minute))
	}, func() string { return "" })
	if n := w.ask("store", &sinkstatev1.Order{Order: &sinkstatev1.Order_Skip{Skip: &stelev1.SkipRequest{Key: "a/bad"}}}).Skip.Skipped; n != 1 {
		t.Errorf("%d keys are skipped", n)
	}
	until(t, func() bool { return w.parked("store", "")[0].Skipped }, func() string { return "skipped" })
	if n := retry(); n != 0 {
		t.Errorf("%d keys are tried again, although they were given up", n)
	}
	w.commit("acme", map[ledger.Key]string{"a/bad": "123"})
	w.equal("a/", "acme")
	until(t, func() bool { return len(w.parked("store", "")) == 0 }, func() string { return "a key that was written stays parked" })

	w.commit("acme", map[ledger.Key]string{"a/bad": "12345"})
	until(t, func() bool { return len(w.parked("store", "")) == 1 }, func() string { return "parked" })
	w.store.set(func() { w.store.refuse = nil })
	retry()
	w.equal("a/", "acme")
	until(t, func() bool { return len(w.parked("store", "")) == 0 }, func() string { return "a key that was written stays parked" })
}

// A bus gets every change, per key in order, although a third of them fail at first,
// and one that always does is parked.
func TestBus_GetsEveryChange(t *testing.T) {
	w := newWorld(t, `{"sinks":{"bus":{}},"routes":[{"prefix":"a/","sinks":["bus"]}]}`)
	w.bus.fail = func(wr projector.Write) error {
		switch {
		case wr.Key == "a/poison":
			return projector.Refuse("poison")
		case rand.IntN(3) == 0:
			return errors.New("throttled")
		}
		return nil
	}
	w.start(w.node, true)
	const commits = 60
	for i := range commits {
		set := map[ledger.Key]string{"a/x": fmt.Sprint(i), ledger.Key(fmt.Sprintf("a/%d", i)): "1", "b/1": "1"}
		if i == 5 {
			set["a/poison"] = "1"
		}
		w.commit("acme", set)
	}
	until(t, func() bool { return len(w.bus.got()) >= 2*commits && w.status("bus", "acme").LagRevisions == 0 }, func() string {
		return fmt.Sprintf("%d events, %v", len(w.bus.got()), w.status("bus", "acme"))
	})
	var last ledger.Revision
	seen := make(map[string]int)
	for _, e := range w.bus.got() {
		seen[fmt.Sprint(e.Revision, e.Key)]++
		if e.Key == "a/x" {
			if e.Revision <= last {
				t.Errorf("%s of a/x comes after %s", e.Revision, last)
			}
			if last = e.Revision; e.Previous != e.Revision-1 {
				t.Errorf("the revision before %s is %s", e.Revision, e.Previous)
			}
		}
	}
	if len(seen) != 2*commits || last != commits {
		t.Errorf("%d changes arrived, not %d; the last of a/x is %s", len(seen), 2*commits, last)
	}
	if got := w.parked("bus", "acme"); len(got) != 1 || got[0].Key != "a/poison" || got[0].Revision != 6 {
		t.Errorf("parked are %v", got)
	}
	w.bus.mu.Lock()
	w.bus.fail = nil
	w.bus.mu.Unlock()
	w.ask("bus", &sinkstatev1.Order{Order: &sinkstatev1.Order_Retry{Retry: &stelev1.RetryRequest{}}})
	until(t, func() bool { return len(w.parked("bus", "")) == 0 && len(w.bus.got()) == 2*commits+1 }, func() string { return "the poison" })

	// Again, from a revision on.
	n := w.ask("bus", &sinkstatev1.Order{Tenant: "acme", Order: &sinkstatev1.Order_Replay{Replay: &stelev1.ReplayRequest{FromRevision: commits}}}).Replay.LagRevisions
	if n != 1 {
		t.Errorf("%d revisions come again", n)
	}
	until(t, func() bool { return len(w.bus.got()) == 2*commits+3 }, func() string { return fmt.Sprint(len(w.bus.got())) })
}

// When the process that writes to a sink is cut off, another one takes over, and the
// first one stops before.
func TestLease_AnotherProcessTakesOver(t *testing.T) {
	w := newWorld(t, toStore)
	first := ledgertest.Start(t, w.server, ledgertest.Config{})
	w.start(first, false)
	w.commit("acme", map[ledger.Key]string{"a/1": "1"})
	w.equal("a/", "acme")
	second := w.start(w.node, false)
	w.commit("acme", map[ledger.Key]string{"a/2": "2"})
	w.equal("a/", "acme")
	first.Conn.Close() // as in a partition: the process keeps running
	w.commit("acme", map[ledger.Key]string{"a/3": "3"})
	w.equal("a/", "acme")
	second.Close()
}

// Rerouted keys go to the store that they are routed to now. In the previous one they
// are kept until they are pruned, and are not drift.
func TestRoutes_Change(t *testing.T) {
	w := newWorld(t, toStore)
	w.start(w.node, true)
	w.commit("acme", map[ledger.Key]string{"a/1": "1", "a/2": "2", "b/1": "3"})
	w.equal("a/", "acme")
	w.commit(ledger.System, map[ledger.Key]string{routes.Key: `{"sinks":{"store":{}},"routes":[{"prefix":"b/","sinks":["store"]}]}`})
	until(t, func() bool { return w.store.puts() > 2 }, func() string { return "b/1 does not come" })
	found := w.ask("store", &sinkstatev1.Order{Order: &sinkstatev1.Order_Check{Check: &stelev1.CheckDriftRequest{}}}).Check.Drift
	if len(found) != 2 || found[0].Kind != stelev1.Drift_KIND_UNROUTED || found[0].Action != stelev1.Drift_ACTION_KEPT {
		t.Errorf("it finds %v", found)
	}
	if n := len(w.store.values()); n != 3 {
		t.Errorf("the store holds %d items, not all three", n)
	}
	if st := w.status("store", ""); st.Drifted != 0 {
		t.Errorf("%d items have drifted", st.Drifted)
	}
	_, rev, err := w.routes.Table()
	if err != nil {
		t.Fatal(err)
	}
	early := &stelev1.ResolveDriftRequest{Resolution: stelev1.ResolveDriftRequest_RESOLUTION_PRUNE, RoutesRevision: uint64(rev) + 1}
	c := &projector.Control{Conn: w.node.Conn, Journal: w.node.Journal, Replica: w.node.Replica}
	reply, err := c.Ask(t.Context(), "store", &sinkstatev1.Order{Order: &sinkstatev1.Order_Resolve{Resolve: early}})
	if err != nil || !strings.Contains(reply.Error, "does not use the new routes yet") {
		t.Errorf("by routes that are not in force: %v, %v", reply, err)
	}
	if n := w.resolve("store", stelev1.ResolveDriftRequest_RESOLUTION_PRUNE, false).Resolved; n != 2 {
		t.Errorf("%d items are pruned", n)
	}
	w.equal("b/", "acme")
}

// TestRoutes_StartAfterAChangeFails ends the first start with new routes after it has saved the
// positions: the next one still writes the keys that are new to the store.
func TestRoutes_StartAfterAChangeFails(t *testing.T) {
	w := newWorld(t, toStore)
	w.start(w.node, true)
	w.commit("acme", map[ledger.Key]string{"a/1": "1", "b/1": "2"})
	w.equal("a/", "acme")
	state, err := w.node.Journal.OpenBucket(t.Context(), journal.Sinks)
	if err != nil {
		t.Fatal(err)
	}
	saved := func() (routing string, at ledger.Revision, seq ledger.Sequence) {
		for e, err := range state.All(t.Context(), "position.store") {
			var p sinkstatev1.Positions
			if err == nil {
				err = proto.Unmarshal(e.Body, &p)
			}
			if err != nil {
				t.Fatal(err)
			}
			routing, at, seq = p.Routing, max(at, ledger.Revision(p.Revisions["acme"])), max(seq, e.Sequence)
		}
		return routing, at, seq
	}
	var before string
	until(t, func() bool {
		var at ledger.Revision
		before, at, _ = saved()
		return at == 1
	}, func() string { return "the position is saved" })
	letters, err := w.node.Journal.OpenBucket(t.Context(), journal.Parked)
	if err != nil {
		t.Fatal(err)
	}
	broken, err := letters.Put(t.Context(), "store.acme.broken", 0, []byte("not a letter"))
	if err != nil {
		t.Fatal(err)
	}
	w.commit(ledger.System, map[ledger.Key]string{routes.Key: `{"sinks":{"store":{}},"routes":[{"prefix":"","sinks":["store"]}]}`})
	var first ledger.Sequence
	until(t, func() bool {
		var routing string
		routing, _, first = saved()
		return routing != before
	}, func() string { return "the positions have the new routing" })
	until(t, func() bool { // the start after the one that has failed
		_, _, seq := saved()
		return seq > first
	}, func() string { return "the positions are saved again" })
	if err := letters.Remove(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	w.equal("", "acme")
}

func TestDrift(t *testing.T) {
	for _, policy := range []routes.Drift{routes.Report, routes.Repair, routes.Adopt} {
		t.Run(string(policy), func(t *testing.T) {
			adopts := ""
			if policy == routes.Adopt {
				adopts = `,"adopt_deletions":true`
			}
			w := newWorld(t, fmt.Sprintf(`{"sinks":{"store":{}},"routes":[{"prefix":"a/","sinks":["store"],"drift":%q%s}]}`, policy, adopts))
			w.start(w.node, true)
			w.commit("acme", map[ledger.Key]string{"a/edited": "1", "a/deleted": "2", "a/fine": "3", "a/back": "4", "a/lost": "5"})
			w.commit("acme", map[ledger.Key]string{"a/back": ""})
			w.equal("a/", "acme")
			w.settled("store")
			w.store.edit(func(items map[string]projector.Item) {
				edited := items["acme:a/edited"]
				edited.Value = `"by hand"`
				items["acme:a/edited"] = edited
				lost := items["acme:a/lost"]
				lost.Value, lost.Revision = `"of a lost commit"`, 99
				items["acme:a/lost"] = lost
				delete(items, "acme:a/deleted")
				items["acme:a/foreign"] = projector.Item{Tenant: "acme", Key: "a/foreign", Name: "acme:a/foreign", Value: "7", State: true}
				items["acme:a/back"] = projector.Item{Tenant: "acme", Key: "a/back", Name: "acme:a/back", Value: "8", State: true}
				items["acme:?"] = projector.Item{Tenant: "acme", Name: "acme:?", Value: "9", State: true}
			})
			check := func() []*stelev1.Drift {
				return w.ask("store", &sinkstatev1.Order{Order: &sinkstatev1.Order_Check{Check: &stelev1.CheckDriftRequest{}}}).Check.Drift
			}
			if found := check(); len(found) != 6 {
				t.Errorf("it finds %v", found)
			}
			listed := func() map[string]stelev1.Drift_Action {
				out := make(map[string]stelev1.Drift_Action)
				for _, f := range w.ask("store", &sinkstatev1.Order{Order: &sinkstatev1.Order_Drift{}}).Drift.Drift {
					if f.Failure != "" {
						t.Errorf("%v", f)
					}
					out[f.Key] = f.Action
				}
				return out
			}
			want := map[routes.Drift]stelev1.Drift_Action{
				routes.Report: stelev1.Drift_ACTION_REPORTED, routes.Repair: stelev1.Drift_ACTION_REPAIRED, routes.Adopt: stelev1.Drift_ACTION_ADOPTED,
			}[policy]
			for _, key := range []string{"a/edited", "a/deleted", "a/foreign", "a/back"} {
				until(t, func() bool { return listed()[key] == want }, func() string { return fmt.Sprint(key, listed()) })
			}
			// An item with a revision that the ledger does not have is of a lost commit. It is
			// written again, even if its route only reports or adopts drift.
			until(t, func() bool { return listed()["a/lost"] == stelev1.Drift_ACTION_REPAIRED }, func() string { return fmt.Sprint(listed()) })
			if v := w.store.values()["acme:a/lost"]; v != "5" {
				t.Errorf("the item of a lost commit is %s after its repair", v)
			}
			if got := listed(); got[""] != stelev1.Drift_ACTION_REPORTED || len(got) != 6 {
				t.Errorf("listed are %v", got)
			}
			w.store.edit(func(items map[string]projector.Item) { delete(items, "acme:?") })
			switch policy {
			case routes.Report:
				if n := w.status("store", "acme").Drifted; n != 5 {
					t.Errorf("%d items have drifted", n)
				}
				return
			case routes.Adopt:
				if n := w.node.Replica.Head("acme").Revision; n != 6 {
					t.Errorf("the head is %s after four items were adopted", n)
				}
			}
			w.equal("a/", "acme")
			if again := check(); len(again) != 0 {
				t.Errorf("it finds once more %v", again)
			}
			if n := w.status("store", "acme").Drifted; n != 0 {
				t.Errorf("%d items have still drifted", n)
			}
		})
	}
}
