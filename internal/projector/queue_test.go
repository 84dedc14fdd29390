package projector

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"pgregory.net/rapid"
)

// A tenant with much to write does not keep the others waiting.
func TestQueue_TenantsTakeTurns(t *testing.T) {
	q, now := newQueue(false, false), time.Now()
	for i := range 100 {
		q.add(q.line("big"), ledger.Key(fmt.Sprint(i)), change{revision: 1}, now)
	}
	q.add(q.line("small"), "a", change{revision: 1}, now)
	q.add(q.line("small"), "b", change{revision: 1}, now)
	var order []string
	for range 2 {
		taken, _ := q.take(now, 4)
		for _, e := range taken {
			order = append(order, string(e.line.tenant))
		}
	}
	if want := []string{"big", "small", "big", "small", "big", "big", "big", "big"}; !slices.Equal(order, want) {
		t.Errorf("the order is %v, want %v", order, want)
	}
}

// A line that is taken whole is not taken again before all of it is settled.
func TestQueue_LineIsTakenWhole(t *testing.T) {
	q, now := newQueue(false, true), time.Now()
	for _, key := range []ledger.Key{"a", "b", "c"} {
		q.add(q.line("acme"), key, change{revision: 1}, now)
	}
	first, _ := q.take(now, 0)
	if len(first) != 3 {
		t.Fatalf("%d of three are taken", len(first))
	}
	q.add(q.line("acme"), "d", change{revision: 2}, now)
	q.done(first[0], 1)
	if more, _ := q.take(now, 0); len(more) != 0 {
		t.Errorf("%d are taken while others are written", len(more))
	}
	q.done(first[1], 1)
	q.putBack(first[2], now, errors.New("once"))
	more, _ := q.take(now, 0)
	if len(more) != 1 || more[0].key != "d" {
		t.Errorf("%d are taken, not the one whose time has come", len(more))
	}
	q.done(more[0], 2)
	if _, next := q.take(now, 0); next != first[2].not {
		t.Errorf("the next time is %s, not that of the one that failed", next)
	}
}

// An item that is found in a key's place while the key is written is replaced after
// that.
func TestQueue_NewerReplaces(t *testing.T) {
	q, now := newQueue(false, false), time.Now()
	l := q.line("acme")
	l.read = 5
	found := &Item{Name: "found"}
	take := func(want *Item) *entry {
		t.Helper()
		taken, _ := q.take(now, 1)
		if len(taken) != 1 || taken[0].replace != want {
			t.Fatalf("taken are %v, want one that replaces %v", taken, want)
		}
		return taken[0]
	}
	q.add(l, "a", change{revision: 5}, now)
	e := take(nil)
	q.again(l, "a", change{revision: 4}, found)
	q.done(e, 5)
	if l.position() != 5 {
		t.Errorf("the position is %s, although the key is written", l.position())
	}
	e = take(found)
	q.again(l, "a", change{revision: 5}, &Item{Name: "later"})
	q.release(e)
	if e.replace.Name != "later" {
		t.Errorf("it replaces %v", e.replace)
	}
	taken, _ := q.take(now, 1)
	q.done(taken[0], 5)
	if len(l.entries) != 0 {
		t.Error("it is written again and again")
	}
}

// New changes go before the backfill, of all tenants; a key of the backfill that
// changes is new.
func TestQueue_NewChangesBeforeBackfill(t *testing.T) {
	q, now := newQueue(false, false), time.Now()
	for _, tenant := range []ledger.Tenant{"big", "other"} {
		q.line(tenant).backfill = 5
		for i := range 50 {
			q.add(q.line(tenant), ledger.Key(fmt.Sprint(i)), change{revision: 5}, now)
		}
	}
	q.add(q.line("big"), "new", change{revision: 6}, now)
	q.add(q.line("other"), "49", change{revision: 6}, now)
	q.again(q.line("other"), "parked", change{revision: 2}, nil)
	taken, _ := q.take(now, 3)
	var got []string
	for _, e := range taken {
		got = append(got, string(e.line.tenant)+" "+string(e.key))
	}
	if want := []string{"big new", "other 49", "big 0"}; !slices.Equal(got, want) {
		t.Errorf("the order is %v, want %v", got, want)
	}
	for seen := 3; ; seen++ {
		more, _ := q.take(now, 1)
		if len(more) == 0 {
			if seen != 102 {
				t.Errorf("%d of 102 keys are taken", seen)
			}
			break
		}
		q.done(more[0], 6)
	}
}

// Whatever is added, taken, written, not written and read again: nothing is lost, a key is
// never in two calls, the changes of a key stay in order if every one counts, and the
// position never passes an unwritten change.
func TestQueue_LosesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		every := rapid.Bool().Draw(rt, "every")
		q, now := newQueue(every, false), time.Unix(0, 0)
		l := q.line("acme")
		var commits [][]ledger.Key                        // the keys of each, the first of revision 1
		newest := make(map[ledger.Key]ledger.Revision)    // of each key
		missing := make(map[ledger.Key][]ledger.Revision) // what was not written
		taken := make(map[ledger.Key]*entry)
		at := make(map[ledger.Key]ledger.Revision) // that a taken key is written with
		repeated := make(map[ledger.Key]bool)      // taken, and to be written once more
		check := func() {
			for key, revs := range missing {
				if len(revs) > 0 && l.position() >= revs[0] {
					rt.Fatalf("the position is %s, and %s%s was not written", l.position(), key, revs[0])
				}
			}
		}
		read := func() {
			l.read++
			for i, key := range commits[l.read-1] {
				q.add(l, key, change{revision: l.read, position: i}, now)
			}
		}
		take := func(most int) {
			got, _ := q.take(now, most)
			for _, e := range got {
				if taken[e.key] != nil {
					rt.Fatalf("%s is taken twice", e.key)
				}
				taken[e.key], at[e.key] = e, newest[e.key]
				if every {
					at[e.key] = e.changes[0].revision
					if missing[e.key][0] != at[e.key] {
						rt.Fatalf("%s%s is written before %s", e.key, at[e.key], missing[e.key][0])
					}
				}
			}
		}
		write := func(key ledger.Key) {
			e := taken[key]
			if !every || !repeated[key] {
				missing[key] = slices.DeleteFunc(missing[key], func(r ledger.Revision) bool { return r <= at[key] })
			}
			delete(taken, key)
			delete(repeated, key)
			q.done(e, at[key])
		}
		rt.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check() },
			"commit": func(rt *rapid.T) {
				l.head++
				var keys []ledger.Key
				for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, 4), 1, 3, rapid.ID[int]).Draw(rt, "keys") {
					key := ledger.Key(fmt.Sprint(i))
					keys = append(keys, key)
					newest[key] = l.head
					missing[key] = append(missing[key], l.head)
				}
				commits = append(commits, keys)
			},
			"read": func(rt *rapid.T) {
				for l.read < l.head && rapid.Bool().Draw(rt, "more") {
					read()
				}
			},
			"take": func(rt *rapid.T) { take(rapid.IntRange(1, 3).Draw(rt, "most")) },
			"settle": func(rt *rapid.T) {
				for key, e := range taken {
					if rapid.Bool().Draw(rt, "fails") {
						delete(taken, key)
						delete(repeated, key)
						q.putBack(e, now, errors.New("once"))
					} else {
						write(key)
					}
				}
			},
			"rewind": func(rt *rapid.T) {
				q.rewind(l, ledger.Revision(rapid.IntRange(0, len(commits)).Draw(rt, "after")))
				for key, revs := range missing {
					missing[key] = slices.DeleteFunc(revs, func(r ledger.Revision) bool { return r > l.read })
				}
				for i, keys := range commits[l.read:] {
					for _, key := range keys {
						missing[key] = append(missing[key], l.read+ledger.Revision(i)+1)
					}
				}
				for key := range taken {
					repeated[key] = repeated[key] || at[key] > l.read
				}
			},
			"wait":   func(*rapid.T) { now = now.Add(time.Second) },
			"behind": func(*rapid.T) { l.backfill = l.head },
		})
		for range 10_000 {
			now = now.Add(longestPause)
			for l.read < l.head {
				read()
			}
			take(10)
			if len(taken) == 0 {
				break
			}
			for key := range taken {
				write(key)
			}
			check()
		}
		for key, revs := range missing {
			if len(revs) > 0 {
				rt.Fatalf("%s%s was not written", key, revs[0])
			}
		}
		if len(l.entries) > 0 || l.position() != l.head {
			rt.Fatalf("%d keys are left, the position is %s of %s", len(l.entries), l.position(), l.head)
		}
	})
}

// TestQueue_RewindKeepsTheOrder reads a line again whose changes wait or are being written:
// a key's changes are then written in order from the first one that is read again.
func TestQueue_RewindKeepsTheOrder(t *testing.T) {
	for _, outcome := range []string{"waiting", "written", "failed"} {
		t.Run(outcome, func(t *testing.T) {
			q, now := newQueue(true, false), time.Now()
			l := q.line("acme")
			l.head, l.read = 11, 11
			q.add(l, "a", change{revision: 10}, now)
			q.add(l, "a", change{revision: 11}, now)
			var running []*entry
			if outcome != "waiting" {
				running, _ = q.take(now, 1)
			}
			q.rewind(l, 4)
			for rev := ledger.Revision(5); rev <= 11; rev++ {
				if rev != 7 {
					q.add(l, "a", change{revision: rev}, now)
				}
				l.read = rev
			}
			for _, e := range running {
				if outcome == "written" {
					q.done(e, 10)
				} else {
					q.putBack(e, now, errors.New("once"))
				}
			}
			var got []ledger.Revision
			for {
				if at := l.position(); len(l.entries) > 0 && at >= l.entries["a"].changes[0].revision {
					t.Errorf("the position is %s, and %s was not written", at, l.entries["a"].changes[0].revision)
				}
				taken, _ := q.take(now.Add(longestPause), 1)
				if len(taken) == 0 {
					break
				}
				got = append(got, taken[0].changes[0].revision)
				q.done(taken[0], got[len(got)-1])
			}
			if want := []ledger.Revision{5, 6, 8, 9, 10, 11}; !slices.Equal(got, want) {
				t.Errorf("written are %v, want %v", got, want)
			}
		})
	}
}
