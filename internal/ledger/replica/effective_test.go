package replica_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
	"pgregory.net/rapid"
)

// ownStates are a tenant's own states, by revision.
type ownStates []map[ledger.Key]ledger.Value

func (h ownStates) head() ledger.Revision { return ledger.Revision(len(h) - 1) }

// inheritance is a model of tenants that inherit from bases: a value is the tenant's own, or
// the value of the first base in its list that has the key.
type inheritance map[ledger.Tenant]ownStates

// at is the state that readers of a tenant see, with the source of each value.
func (m inheritance) at(t ledger.Tenant, rev ledger.Revision) map[ledger.Key]replica.Entry {
	state := make(map[ledger.Key]replica.Entry)
	own := m[t][rev]
	list, _ := ledger.ParseBases(own[ledger.BasesKey])
	for _, b := range slices.Backward(list) {
		for k, v := range m[b.Tenant][b.Revision] {
			if k.Inheritable() {
				state[k] = replica.Entry{Key: k, Value: v, Base: ledger.Source{Tenant: b.Tenant}}
			}
		}
	}
	for k, v := range own {
		state[k] = replica.Entry{Key: k, Value: v}
	}
	return state
}

// commit commits a change set and adds it to the model.
func (m inheritance) commit(rt *rapid.T, l *ledger.Ledger, t ledger.Tenant, changes ...ledger.Change) {
	got, err := l.Commit(context.Background(), t, ledger.ChangeSet{Author: "ann", Changes: changes})
	if err != nil {
		rt.Fatal(err)
	}
	if got.Unchanged {
		return
	}
	m.add(t, changes)
}

func (m inheritance) add(t ledger.Tenant, changes []ledger.Change) {
	next := maps.Clone(m[t][m[t].head()])
	for _, ch := range changes {
		if next[ch.Key] = ch.Value; ch.Delete {
			delete(next, ch.Key)
		}
	}
	m[t] = append(m[t], next)
}

// rollBack rolls back a prefix, which keeps the pins: its keys get the values that readers saw in
// the revision, and all others keep theirs. It must be refused only if a key was not set then and
// is inherited now.
func (m inheritance) rollBack(rt *rapid.T, l *ledger.Ledger, t ledger.Tenant, to ledger.Revision, prefix ledger.Prefix) {
	head := m[t].head()
	want := valuesOnly(m.at(t, head))
	maps.DeleteFunc(want, func(k ledger.Key, _ ledger.Value) bool { return prefix.Match(k) })
	for k, e := range m.at(t, to) {
		if prefix.Match(k) {
			want[k] = e.Value
		}
	}
	refused := false
	list, _ := ledger.ParseBases(m[t][head][ledger.BasesKey])
	for _, b := range list {
		for k := range m[b.Tenant][b.Revision] {
			refused = refused || k.Inheritable() && prefix.Match(k) && want[k] == ""
		}
	}
	done, err := l.Rollback(context.Background(), t, ledger.Rollback{Request: ledger.Request{Author: "ann"}, To: to, Prefix: prefix})
	var invalid *ledger.InvalidError
	if refused != errors.As(err, &invalid) || err != nil && !refused {
		rt.Fatalf("rollback of %s in %s%s to %s: %v, want refused: %v", prefix, t, head, to, err, refused)
	}
	if len(done.Changes) > 0 && err == nil {
		m.add(t, done.Changes)
	}
	if d := cmp.Diff(want, valuesOnly(m.at(t, m[t].head()))); d != "" && !refused {
		rt.Fatalf("rollback of %s in %s%s to %s (-want +got):\n%s", prefix, t, head, to, d)
	}
}

// values are the entries' values, and of inherited ones the base.
func values(entries map[ledger.Key]replica.Entry) map[ledger.Key]string {
	out := make(map[ledger.Key]string)
	for k, e := range entries {
		out[k] = string(e.Base.Tenant) + " " + string(e.Value)
	}
	return out
}

// TestView_Inheritance compares every read of tenants with bases with the model: random
// values, overrides, deletions, lists, pins, rollbacks of everything or of a prefix, and flushes,
// at every revision.
func TestView_Inheritance(t *testing.T) {
	s := ledgertest.Server(t)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		name := func(kind string, i int) ledger.Tenant { return ledger.Tenant(fmt.Sprintf("%s%d-%d", kind, i, run)) }
		n := ledgertest.Start(t, s, ledgertest.Config{})
		defer n.Close()
		var all, based []ledger.Tenant
		m := make(inheritance)
		for i := range 3 {
			all = append(all, name("base", i))
		}
		for i := range 2 {
			based = append(based, name("tenant", i))
		}
		all = append(all, based...)
		for _, t := range all {
			m[t] = ownStates{{}}
			m.commit(rt, n.Ledger, t, ledger.Change{Key: "c/first", Value: `0`})
		}
		key := rapid.Custom(func(rt *rapid.T) ledger.Key {
			return ledger.Key(fmt.Sprintf("c/%d", rapid.IntRange(0, 6).Draw(rt, "key")))
		})
		for range rapid.IntRange(5, 40).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"set", "set", "set", "delete", "list", "list", "rollback", "rollback prefix", "flush"}).Draw(rt, "step") {
			case "set":
				t := rapid.SampledFrom(all).Draw(rt, "tenant")
				v := ledger.Value(fmt.Sprint(rapid.IntRange(0, 3).Draw(rt, "value")))
				m.commit(rt, n.Ledger, t, ledger.Change{Key: key.Draw(rt, "key"), Value: v})
			case "delete":
				m.commit(rt, n.Ledger, rapid.SampledFrom(all).Draw(rt, "tenant"), ledger.Change{Key: key.Draw(rt, "key"), Delete: true})
			case "list":
				var list []ledger.Base
				for _, i := range rapid.Permutation([]int{0, 1, 2}).Draw(rt, "order")[:rapid.IntRange(0, 3).Draw(rt, "bases")] {
					base := all[i]
					list = append(list, ledger.Base{Tenant: base, Revision: ledger.Revision(rapid.IntRange(1, int(m[base].head())).Draw(rt, "pin"))})
				}
				m.commit(rt, n.Ledger, rapid.SampledFrom(based).Draw(rt, "tenant"), ledger.Change{Key: ledger.BasesKey, Value: ledger.BasesValue(list)})
			case "rollback":
				t := rapid.SampledFrom(all).Draw(rt, "tenant")
				to := ledger.Revision(rapid.IntRange(1, int(m[t].head())).Draw(rt, "to"))
				done, err := n.Ledger.Rollback(context.Background(), t, ledger.Rollback{Request: ledger.Request{Author: "ann"}, To: to})
				if err != nil {
					rt.Fatal(err)
				}
				if len(done.Changes) > 0 {
					m.add(t, done.Changes)
				}
			case "rollback prefix":
				t := rapid.SampledFrom(all).Draw(rt, "tenant")
				to := ledger.Revision(rapid.IntRange(0, int(m[t].head())).Draw(rt, "to"))
				m.rollBack(rt, n.Ledger, t, to, rapid.SampledFrom([]ledger.Prefix{"c/", ledger.Prefix(key.Draw(rt, "key"))}).Draw(rt, "prefix"))
			case "flush":
				if err := n.Replica.Flush(); err != nil {
					rt.Fatal(err)
				}
			}
		}
		for _, t := range all {
			checkInheritance(rt, n.Replica, m, t)
		}
	})
}

// TestRollback_PrefixOfInheritedKeys rolls back prefixes of a tenant with a base, with so few keys
// and values that own and inherited values are often the same.
func TestRollback_PrefixOfInheritedKeys(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		base, tenant := ledger.Tenant(fmt.Sprintf("base-%d", run)), ledger.Tenant(fmt.Sprintf("tenant-%d", run))
		m := inheritance{base: {{}}, tenant: {{}}}
		m.commit(rt, n.Ledger, base, ledger.Change{Key: "c/0", Value: `0`})
		key := rapid.SampledFrom([]ledger.Key{"c/0", "c/1"})
		for range rapid.IntRange(30, 60).Draw(rt, "steps") {
			of := rapid.SampledFrom([]ledger.Tenant{base, tenant}).Draw(rt, "tenant")
			switch rapid.SampledFrom([]string{"set", "set", "delete", "pin", "rollback"}).Draw(rt, "step") {
			case "set":
				value := ledger.Value(fmt.Sprint(rapid.IntRange(0, 1).Draw(rt, "value")))
				m.commit(rt, n.Ledger, of, ledger.Change{Key: key.Draw(rt, "key"), Value: value})
			case "delete":
				m.commit(rt, n.Ledger, of, ledger.Change{Key: key.Draw(rt, "key"), Delete: true})
			case "pin":
				list := []ledger.Base{{Tenant: base, Revision: ledger.Revision(rapid.IntRange(1, int(m[base].head())).Draw(rt, "pin"))}}
				m.commit(rt, n.Ledger, tenant, ledger.Change{Key: ledger.BasesKey, Value: ledger.BasesValue(list)})
			case "rollback":
				to := ledger.Revision(rapid.IntRange(0, int(m[tenant].head())).Draw(rt, "to"))
				m.rollBack(rt, n.Ledger, tenant, to, rapid.SampledFrom([]ledger.Prefix{"c/", "c/0", "c/1"}).Draw(rt, "prefix"))
			}
		}
		v, err := n.Replica.View(tenant, replica.At{})
		if err != nil {
			rt.Fatal(err)
		}
		defer v.Close()
		listed := make(map[ledger.Key]replica.Entry)
		for e, err := range v.List("", "") {
			if err != nil {
				rt.Fatal(err)
			}
			listed[e.Key] = e
		}
		if d := cmp.Diff(values(m.at(tenant, m[tenant].head())), values(listed)); d != "" {
			rt.Fatalf("%s: List (-want +got):\n%s", tenant, d)
		}
	})
}

func checkInheritance(rt *rapid.T, r *replica.Replica, m inheritance, t ledger.Tenant) {
	head, err := r.View(t, replica.At{})
	if err != nil {
		rt.Fatal(err)
	}
	defer head.Close()
	keys := []ledger.Key{"c/first", ledger.BasesKey}
	for i := range 7 {
		keys = append(keys, ledger.Key(fmt.Sprintf("c/%d", i)))
	}
	for rev := ledger.Revision(1); rev <= m[t].head(); rev++ {
		checkRevision(rt, r, m, t, rev, head, keys)
	}
	checkLogs(rt, m, t, head, keys)
}

func checkRevision(rt *rapid.T, r *replica.Replica, m inheritance, t ledger.Tenant, rev ledger.Revision, head *replica.View, keys []ledger.Key) {
	want := m.at(t, rev)
	v, err := r.View(t, replica.At{Revision: rev})
	if err != nil {
		rt.Fatal(err)
	}
	defer v.Close()
	listed := make(map[ledger.Key]replica.Entry)
	last := ledger.Key("")
	for e, err := range v.List("", "") {
		if err != nil {
			rt.Fatal(err)
		}
		if e.Key <= last {
			rt.Fatalf("%s%s: List yields %s after %s", t, rev, e.Key, last)
		}
		last = e.Key
		listed[e.Key] = e
	}
	if d := cmp.Diff(values(want), values(listed)); d != "" {
		rt.Fatalf("%s%s: List (-want +got):\n%s", t, rev, d)
	}
	for _, k := range keys {
		e, ok, err := v.Get(k)
		if err != nil {
			rt.Fatal(err)
		}
		if ok != (want[k].Key != "") || e != listed[k] {
			rt.Fatalf("%s%s: Get(%s) = %+v, List has %+v", t, rev, k, e, listed[k])
		}
		found, err := head.Version(k, rev)
		if err != nil || found.Value != e.Value || found.Base != e.Base {
			rt.Fatalf("%s%s: Version(%s) = %+v, %v; Get has %+v", t, rev, k, found, err, e)
		}
		if ok && found.Revision != e.Revision {
			rt.Fatalf("%s%s: Version(%s) is of %s, and Get of %s", t, rev, k, found.Revision, e.Revision)
		}
	}
	// A commit as readers see it leads from each state to the next.
	c, err := v.Commit(rev)
	if err == nil {
		c, err = head.EffectiveCommit(c)
	}
	if err != nil {
		rt.Fatal(err)
	}
	applied := valuesOnly(m.at(t, rev-1))
	for _, ch := range c.Changes {
		if applied[ch.Key] = ch.Value; ch.Delete {
			delete(applied, ch.Key)
		}
	}
	if d := cmp.Diff(valuesOnly(want), applied); d != "" {
		rt.Fatalf("%s%s: the effective commit does not lead there (-want +got):\n%s", t, rev, d)
	}
	// So do the keys that have changed since any earlier revision, and the differences.
	for since := ledger.Revision(0); since <= rev; since++ {
		changed, diffed := valuesOnly(m.at(t, since)), valuesOnly(m.at(t, since))
		for kv, err := range v.Changed(since, "") {
			if err != nil {
				rt.Fatal(err)
			}
			if kv.Revision <= since || kv.Revision > rev {
				rt.Fatalf("%s: Changed(%s) at %s yields %s of %s", t, since, rev, kv.Key, kv.Revision)
			}
			if changed[kv.Key] = kv.Value; kv.Value == "" {
				delete(changed, kv.Key)
			}
		}
		if d := cmp.Diff(valuesOnly(want), changed); d != "" {
			rt.Fatalf("%s: Changed(%s) does not lead to %s (-want +got):\n%s", t, since, rev, d)
		}
		for kd, err := range head.Diff(since, rev, "", "") {
			if err != nil {
				rt.Fatal(err)
			}
			if kd.From.Value != diffed[kd.Key] || kd.From.Value == kd.To.Value {
				rt.Fatalf("%s: Diff(%s, %s) of %s is from %q to %q, and it was %q", t, since, rev, kd.Key, kd.From.Value, kd.To.Value, diffed[kd.Key])
			}
			if diffed[kd.Key] = kd.To.Value; kd.To.Value == "" {
				delete(diffed, kd.Key)
			}
		}
		if d := cmp.Diff(valuesOnly(want), diffed); d != "" {
			rt.Fatalf("%s: Diff(%s, %s) (-want +got):\n%s", t, since, rev, d)
		}
	}
}

// checkLogs checks that the log of a key has the commits that changed its value.
func checkLogs(rt *rapid.T, m inheritance, t ledger.Tenant, head *replica.View, keys []ledger.Key) {
	for _, k := range keys {
		var logged []ledger.Revision
		log := head.Log(replica.Query{Names: []ledger.Name{ledger.Name(k)}, From: m[t].head()})
		for c, err := range log.All() {
			if err != nil {
				rt.Fatal(err)
			}
			logged = append(logged, c.Revision)
		}
		for rev := m[t].head(); rev > 0; rev-- {
			if m.at(t, rev)[k].Value != m.at(t, rev-1)[k].Value && !slices.Contains(logged, rev) {
				rt.Fatalf("%s: the log of %s lacks %s: %v", t, k, rev, logged)
			}
		}
	}
}

func valuesOnly(entries map[ledger.Key]replica.Entry) map[ledger.Key]ledger.Value {
	out := make(map[ledger.Key]ledger.Value)
	for k, e := range entries {
		out[k] = e.Value
	}
	return out
}
