package projector_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/secret"
	"github.com/stelehq/stele/internal/projector"
	sinkstatev1 "github.com/stelehq/stele/internal/projector/sinkstate/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// adopting are routes that adopt drift, with more options of the sink and the route.
func adopting(sink, route string) string {
	return fmt.Sprintf(`{"sinks":{"store":{%s}},"routes":[{"prefix":"a/","sinks":["store"],"drift":"adopt"%s}]}`, sink, route)
}

func (w *world) check(sink string) *stelev1.CheckDriftResponse {
	w.t.Helper()
	return w.ask(sink, &sinkstatev1.Order{Order: &sinkstatev1.Order_Check{Check: &stelev1.CheckDriftRequest{}}}).Check
}

func (w *world) resolve(sink string, how stelev1.ResolveDriftRequest_Resolution, deletions bool) *stelev1.ResolveDriftResponse {
	w.t.Helper()
	return w.ask(sink, &sinkstatev1.Order{Order: &sinkstatev1.Order_Resolve{
		Resolve: &stelev1.ResolveDriftRequest{Sink: sink, Resolution: how, AdoptDeletions: deletions},
	}}).Resolve
}

// fill commits so many keys, and waits until the store has them.
func (w *world) fill(t ledger.Tenant, n int) {
	w.t.Helper()
	set := make(map[ledger.Key]string)
	for i := range n {
		set[ledger.Key(fmt.Sprintf("a/%03d", i))] = fmt.Sprint(i)
	}
	w.commit(t, set)
	w.equal("a/", t)
	w.settled("store")
}

// settled waits until the projector knows that all its writes to the sink are done. A sweep
// does not compare a key before, although the store already has it.
func (w *world) settled(sink string) {
	w.t.Helper()
	until(w.t, func() bool {
		st := w.status(sink, "")
		return st.LagRevisions == 0 && st.Pending == 0
	}, func() string { return w.status(sink, "").String() })
}

func (w *world) head(t ledger.Tenant) ledger.Revision { return w.node.Replica.Head(t).Revision }

// A store that has lost its items does not delete them from the ledger: it stops, for
// every process, until an operator resolves it.
func TestDriftLimit_StoreEmptied(t *testing.T) {
	for _, tc := range []struct {
		name      string
		how       stelev1.ResolveDriftRequest_Resolution
		deletions bool
		left      int // keys
	}{
		{"repair", stelev1.ResolveDriftRequest_RESOLUTION_REPAIR, false, 36},
		{"adopt what is there", stelev1.ResolveDriftRequest_RESOLUTION_ADOPT, false, 36},
		{"adopt deletions", stelev1.ResolveDriftRequest_RESOLUTION_ADOPT, true, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, adopting("", `,"adopt_deletions":true`))
			p := w.start(w.node, true)
			w.fill("acme", 36)
			before := w.head("acme")
			w.store.edit(func(items map[string]projector.Item) {
				for i := range 34 {
					delete(items, fmt.Sprintf("acme:a/%03d", i))
				}
			})
			const want = "34 of 36 items are missing or changed, 34 of them missing; the drift limit is 10 items and 5 %"
			if c := w.check("store"); len(c.Drift) != 34 || c.Compared != 36 || c.Stopped != want {
				t.Fatalf("it finds %d of %d, and has stopped: %q", len(c.Drift), c.Compared, c.Stopped)
			}
			w.commit("acme", map[ledger.Key]string{"a/035": `"newer"`})
			p.Close()
			c := &projector.Control{Conn: w.node.Conn, Journal: w.node.Journal, Replica: w.node.Replica}
			if st, err := c.Left(t.Context(), "store", ""); err != nil || st.Stopped != want {
				t.Errorf("while no process runs: %v, %v", st, err)
			}
			w.start(w.node, true)
			until(t, func() bool { return w.status("store", "").Pending == 1 }, func() string { return w.status("store", "").String() })
			w.check("store")
			if st := w.status("store", ""); st.Stopped != want || w.head("acme") != before+1 || len(w.store.values()) != 2 {
				t.Errorf("after a restart: stopped %q, head %s, %d items", st.Stopped, w.head("acme"), len(w.store.values()))
			}
			if n := w.resolve("store", tc.how, tc.deletions).Resolved; n != 34 {
				t.Errorf("%d are resolved", n)
			}
			w.equal("a/", "acme")
			if n := len(w.values()); n != tc.left {
				t.Errorf("%d keys are left, want %d", n, tc.left)
			}
			if st := w.status("store", ""); st.Stopped != "" {
				t.Errorf("it is still stopped: %s", st.Stopped)
			}
			if c := w.check("store"); len(c.Drift) != 0 {
				t.Errorf("drifted are still %v", c.Drift)
			}
		})
	}
}

// values are the live items of the store.
func (w *world) values() map[string]ledger.Value {
	all := w.store.values()
	maps.DeleteFunc(all, func(_ string, v ledger.Value) bool { return v == "" })
	return all
}

func TestDriftLimit(t *testing.T) {
	lose := func(from, n int) func(map[string]projector.Item) {
		return func(items map[string]projector.Item) {
			for i := range n {
				delete(items, fmt.Sprintf("acme:a/%03d", from+i))
			}
		}
	}
	edit := func(n int) func(map[string]projector.Item) {
		return func(items map[string]projector.Item) {
			for i := range n {
				name := fmt.Sprintf("acme:a/%03d", i)
				item := items[name]
				item.Value = `"by hand"`
				items[name] = item
			}
		}
	}
	for _, tc := range []struct {
		name        string
		sink, route string
		keys        int
		change      func(map[string]projector.Item)
		stopped     string
		adopted     int // commits
	}{
		{"few edits are adopted", "", "", 36, edit(10), "", 10},
		{"many are not", "", "", 36, edit(11), "11 of 36 items", 0},
		{"a share of many is", "", "", 400, edit(20), "", 20},
		{"a larger share is not", "", "", 400, edit(21), "21 of 400 items", 0},
		{"deletions are an option", "", "", 36, lose(0, 3), "", 0},
		{"which adopts them", "", `,"adopt_deletions":true`, 36, lose(0, 3), "", 3},
		{"but never all", "", `,"adopt_deletions":true`, 4, lose(0, 4), "all 4 items of acme are missing", 0},
		{"many missing also stop it without the option", "", "", 36, lose(0, 11), "11 of 36 items", 0},
		{"a limit of one's own", `"drift_limit":{"items":1}`, "", 30, edit(2), "2 of 30 items", 0},
		{"and its share", `"drift_limit":{"items":0,"percent":50}`, "", 30, edit(15), "", 15},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, adopting(tc.sink, tc.route))
			w.start(w.node, true)
			w.fill("acme", tc.keys)
			before := w.head("acme")
			w.store.edit(tc.change)
			c := w.check("store")
			if !strings.HasPrefix(c.Stopped, tc.stopped) || (c.Stopped == "") != (tc.stopped == "") {
				t.Errorf("stopped is %q, want %q", c.Stopped, tc.stopped)
			}
			if n := int(w.head("acme") - before); n != tc.adopted {
				t.Errorf("%d commits were made, want %d", n, tc.adopted)
			}
		})
	}
}

// Items that are checked one by one, on AWS's notifications, count together, and a
// deletion waits for the sweep, which sees whether others are missing.
func TestDriftLimit_SingleChecks(t *testing.T) {
	w := newWorld(t, adopting("", `,"adopt_deletions":true`))
	w.start(w.node, true)
	w.fill("acme", 20)
	w.check("store")
	before := w.head("acme")
	check := func(name string) *stelev1.CheckDriftResponse {
		return w.ask("store", &sinkstatev1.Order{Order: &sinkstatev1.Order_Check{Check: &stelev1.CheckDriftRequest{Name: name}}}).Check
	}
	for i := range 12 {
		name := fmt.Sprintf("acme:a/%03d", i)
		w.store.edit(func(items map[string]projector.Item) {
			item := items[name]
			item.Value = `"by hand"`
			items[name] = item
		})
		if c := check(name); (c.Stopped != "") != (i >= 10) {
			t.Errorf("after %d edits it has stopped: %q", i+1, c.Stopped)
		}
	}
	if n := w.head("acme") - before; n != 10 {
		t.Errorf("%d edits were adopted", n)
	}
	w.resolve("store", stelev1.ResolveDriftRequest_RESOLUTION_REPAIR, false)
	w.equal("a/", "acme")
	before = w.head("acme")
	w.store.edit(func(items map[string]projector.Item) { delete(items, "acme:a/019") })
	if c := check("acme:a/019"); len(c.Drift) != 1 || w.head("acme") != before {
		t.Errorf("a single check of what is missing makes %s of %s, %v", w.head("acme"), before, c)
	}
	w.check("store")
	if n := w.head("acme") - before; n != 1 {
		t.Errorf("the sweep makes %d commits of it", n)
	}
}

// A sweep that began before a repair does not stop the sink again because of what it saw
// then.
func TestDriftLimit_RepairDuringASweep(t *testing.T) {
	w := newWorld(t, adopting("", ""))
	w.start(w.node, true)
	w.fill("acme", 20)
	w.store.edit(func(items map[string]projector.Item) {
		for i := range 15 {
			delete(items, fmt.Sprintf("acme:a/%03d", i))
		}
	})
	if c := w.check("store"); c.Stopped == "" {
		t.Fatal("the emptied store does not stop")
	}
	// The second sweep has seen 14 missing items when it comes to the last one.
	reached, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.store.set(func() {
		w.store.reading = func(name string) {
			if name == "acme:a/014" {
				once.Do(func() { close(reached); <-release })
			}
		}
	})
	var both sync.WaitGroup
	both.Go(func() { w.check("store") })
	<-reached
	resolved := make(chan struct{})
	both.Go(func() {
		defer close(resolved)
		w.resolve("store", stelev1.ResolveDriftRequest_RESOLUTION_REPAIR, false)
	})
	select {
	case <-resolved: // it did not wait for the sweep
	case <-time.After(time.Second):
	}
	close(release)
	both.Wait()
	w.equal("a/", "acme")
	if st := w.status("store", ""); st.Stopped != "" {
		t.Errorf("it has stopped again: %s", st.Stopped)
	}
}

// A finding is listed for as long as it needs a decision: not once its key was written
// again, and not while it is being repaired, until the outcome is known.
func TestDrift_ListsWhatNeedsADecision(t *testing.T) {
	w := newWorld(t, `{"sinks":{"store":{}},"routes":[{"prefix":"a/","sinks":["store"],"drift":"report"}]}`)
	w.start(w.node, true)
	w.fill("acme", 2)
	w.store.edit(func(items map[string]projector.Item) {
		item := items["acme:a/000"]
		item.Value = `"by hand"`
		items["acme:a/000"] = item
		delete(items, "acme:a/001")
	})
	listed := func(want ...string) {
		t.Helper()
		var got []string
		for _, d := range w.ask("store", &sinkstatev1.Order{Order: &sinkstatev1.Order_Drift{Drift: &stelev1.ListDriftRequest{}}}).Drift.Drift {
			got = append(got, d.Key+" "+d.Action.String())
		}
		open := 0
		for _, line := range want {
			if strings.HasSuffix(line, "REPORTED") {
				open++
			}
		}
		if !slices.Equal(got, want) || int(w.status("store", "").Drifted) != open {
			t.Errorf("listed are %q, %d open, want %q", got, w.status("store", "").Drifted, want)
		}
	}
	w.check("store")
	listed("a/000 ACTION_REPORTED", "a/001 ACTION_REPORTED")
	// a/001 is still missing: only the write of a/000 is waited for.
	w.commit("acme", map[ledger.Key]string{"a/000": `"newer"`})
	until(t, func() bool { return w.store.values()["acme:a/000"] == `"newer"` && w.status("store", "").Pending == 0 }, func() string { return "the newer value is written" })
	listed("a/001 ACTION_REPORTED")
	w.store.set(func() { w.store.fail = func() error { return errors.New("the store is down") } })
	w.resolve("store", stelev1.ResolveDriftRequest_RESOLUTION_REPAIR, false)
	listed()
	w.store.set(func() { w.store.fail = nil })
	w.equal("a/", "acme")
	until(t, func() bool { return w.status("store", "").Pending == 0 }, func() string { return "the repair is over" })
	listed("a/001 ACTION_REPAIRED")
}

// To repair a store does not delete what the ledger never had, and could not bring
// back, unless its route says so.
func TestResolve_RepairKeepsWhatTheLedgerNeverHad(t *testing.T) {
	for drift, kept := range map[string]bool{"adopt": true, "report": true, "repair": false} {
		w := newWorld(t, fmt.Sprintf(`{"sinks":{"store":{}},"routes":[{"prefix":"a/","sinks":["store"],"drift":%q}]}`, drift))
		w.start(w.node, true)
		w.fill("acme", 1)
		w.store.edit(func(items map[string]projector.Item) {
			items["acme:a/theirs"] = projector.Item{Tenant: "acme", Key: "a/theirs", Name: "acme:a/theirs", Value: "7", Secret: true, State: true}
			delete(items, "acme:a/000")
		})
		w.resolve("store", stelev1.ResolveDriftRequest_RESOLUTION_REPAIR, false)
		until(t, func() bool { return w.store.values()["acme:a/000"] == "0" }, func() string { return "what is missing is written" })
		if _, there := w.store.values()["acme:a/theirs"]; there != kept {
			t.Errorf("drift %s: it is there: %t", drift, there)
		}
	}
}

// A value that the sink keeps as a secret reaches the journal through a secret route
// only.
func TestAdoption_OfSecrets(t *testing.T) {
	for _, isSecret := range []bool{false, true} {
		route := ""
		if isSecret {
			route = `,"secret":true,"secure":true`
		}
		w := newWorld(t, adopting("", route))
		w.withSecrets()
		w.store.keeps = true
		w.start(w.node, true)
		w.commit("acme", map[ledger.Key]string{"a/plain": "1"})
		w.equalWhenPlain()
		w.store.edit(func(items map[string]projector.Item) {
			items["acme:a/token"] = projector.Item{Tenant: "acme", Key: "a/token", Name: "acme:a/token", Value: `"canary-77aa"`, Secret: true, State: true}
		})
		found := w.check("store").Drift
		e, set := w.entry("acme", "a/token")
		switch {
		case !isSecret && (set || len(found) != 1 || !strings.Contains(found[0].Failure, "journal in clear")):
			t.Errorf("by a route that is not secret: %v, %v", e, found)
		case isSecret && (!set || !secret.Sealed(e)):
			t.Errorf("by a route that is secret: %q, %v", e, found)
		}
	}
}

// equalWhenPlain waits until the store has a/plain.
func (w *world) equalWhenPlain() {
	w.t.Helper()
	until(w.t, func() bool { return w.store.values()["acme:a/plain"] != "" }, func() string { return "a/plain" })
}

// A tenant or item that cannot be read is reported while it cannot be read, and delays no
// comparison of another one.
func TestSweep_GoesOnPastErrors(t *testing.T) {
	w := newWorld(t, `{"sinks":{"store":{}},"routes":[{"prefix":"a/","sinks":["store"]}]}`)
	w.start(w.node, true)
	for _, tenant := range []ledger.Tenant{"acme", "globex", "umbrella"} {
		w.fill(tenant, 3)
	}
	w.store.edit(func(items map[string]projector.Item) {
		for n, item := range items {
			item.Value = `"by hand"`
			items[n] = item
		}
		w.store.unreadable = func(t ledger.Tenant, name string) error {
			if t == "acme" && name == "" || name == "globex:a/001" {
				return errors.New("access denied to " + string(t))
			}
			return nil
		}
	})
	c := w.check("store")
	var found, missed []string
	for _, d := range c.Drift {
		found = append(found, d.Name)
	}
	for _, u := range c.Uncompared {
		missed = append(missed, u.Tenant+" "+u.Name+" "+u.Reason)
	}
	slices.Sort(found)
	if want := []string{"globex:a/000", "globex:a/002", "umbrella:a/000", "umbrella:a/001", "umbrella:a/002"}; !slices.Equal(found, want) {
		t.Errorf("found are %v", found)
	}
	if want := []string{"acme  access denied to acme", "globex globex:a/001 access denied to globex"}; !slices.Equal(missed, want) {
		t.Errorf("not compared are %q", missed)
	}
	list := w.ask("store", &sinkstatev1.Order{Order: &sinkstatev1.Order_Drift{}}).Drift
	if len(list.Uncompared) != 2 || len(list.Drift) != 5 || list.Checked == nil {
		t.Errorf("listed are %v", list)
	}
	if n := w.status("store", "globex").Uncompared; n != 1 {
		t.Errorf("of globex, %d are not compared", n)
	}
	w.store.set(func() { w.store.unreadable = nil })
	w.check("store")
	if list := w.ask("store", &sinkstatev1.Order{Order: &sinkstatev1.Order_Drift{}}).Drift; len(list.Uncompared) != 0 || len(list.Drift) != 9 {
		t.Errorf("once all can be read: %v", list)
	}
}

// A report shows the value of one item, never a secret, and handles nothing. One item is resolved without the others.
func TestDrift_OneItem(t *testing.T) {
	w := newWorld(t, `{"sinks":{"store":{}},"routes":[{"prefix":"a/hidden","sinks":["store"],"secret":true},{"prefix":"a/","sinks":["store"],"drift":"report"}]}`)
	w.start(w.node, true)
	w.commit("acme", map[ledger.Key]string{"a/one": "1", "a/two": "2", "a/gone": "3", "a/hidden": `"secret"`})
	until(t, func() bool { return len(w.store.values()) == 4 }, func() string { return w.status("store", "").String() })
	w.settled("store")
	w.store.edit(func(items map[string]projector.Item) {
		for _, key := range []string{"one", "two", "hidden"} {
			item := items["acme:a/"+key]
			item.Value = `"by hand"`
			items["acme:a/"+key] = item
		}
		delete(items, "acme:a/gone")
	})
	before := w.head("acme")
	for name, want := range map[string]string{"acme:a/one": `"by hand"`, "acme:a/hidden": string(secret.Mask), "acme:a/gone": ""} {
		c := w.ask("store", &sinkstatev1.Order{Tenant: "acme", Order: &sinkstatev1.Order_Check{Check: &stelev1.CheckDriftRequest{Name: name, ReportOnly: true}}}).Check
		if len(c.Drift) != 1 || c.Drift[0].Value != want {
			t.Errorf("the report of %s is %v, want the value %s", name, c, want)
		}
	}
	resolve := func(name string, how stelev1.ResolveDriftRequest_Resolution) {
		t.Helper()
		r := w.ask("store", &sinkstatev1.Order{Tenant: "acme", Order: &sinkstatev1.Order_Resolve{
			Resolve: &stelev1.ResolveDriftRequest{Name: name, Resolution: how, AdoptDeletions: true},
		}}).Resolve
		if r.Resolved != 1 || len(r.Drift) != 1 {
			t.Errorf("%s of %s: %v", how, name, r)
		}
	}
	resolve("acme:a/one", stelev1.ResolveDriftRequest_RESOLUTION_REPAIR)
	if got := w.store.values(); got["acme:a/one"] != "1" || got["acme:a/two"] != `"by hand"` || w.head("acme") != before {
		t.Errorf("after the repair of one item the store has %v, and the head is %s", got, w.head("acme"))
	}
	resolve("acme:a/two", stelev1.ResolveDriftRequest_RESOLUTION_ADOPT)
	resolve("acme:a/gone", stelev1.ResolveDriftRequest_RESOLUTION_ADOPT)
	until(t, func() bool { return w.head("acme") == before+2 && w.status("store", "").Pending == 0 }, func() string { return w.status("store", "").String() })
	if c := w.check("store"); len(c.Drift) != 1 || c.Drift[0].Key != "a/hidden" {
		t.Errorf("drifted are %v, want only the secret", c.Drift)
	}
	control := &projector.Control{Conn: w.node.Conn, Journal: w.node.Journal, Replica: w.node.Replica}
	reply, err := control.Ask(t.Context(), "store", &sinkstatev1.Order{Order: &sinkstatev1.Order_Check{Check: &stelev1.CheckDriftRequest{ReportOnly: true}}})
	if err != nil || !reply.Invalid || !strings.Contains(reply.Error, "name an item") {
		t.Errorf("a report of the whole sink: %v, %v", reply, err)
	}
}
