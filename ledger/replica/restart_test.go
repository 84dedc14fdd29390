package replica_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/journal"
	"github.com/stelehq/stele/ledger/replica"
	"go.uber.org/goleak"
)

func TestARestartGoesOnWhereTheFileEnds(t *testing.T) {
	const flushed, tail = 30, 7
	for _, tc := range []struct {
		name string
		// end ends the first run and returns the file that the second finds.
		end  func(t *testing.T, n *node, path string) string
		want int // messages that the journal delivers once more
	}{
		{"closed", func(t *testing.T, n *node, path string) string {
			n.close(t)
			return path
		}, 0},
		{"killed", func(t *testing.T, n *node, path string) string {
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			n.close(t)
			copied := path + ".copy"
			if err := os.WriteFile(copied, file, 0o600); err != nil {
				t.Fatal(err)
			}
			return copied
		}, tail},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "replica.db")
			j := newFakeJournal(2)
			n := start(t, path, j)
			histories := []*history{newHistory("a"), newHistory("a-b"), newHistory("_system")}
			write := func(from, to int) {
				for i := from; i < to; i++ {
					histories[i%len(histories)].write(t, n.ledger, churn(i))
				}
				// The journal's own delivery moves the position.
				eventually(t, "the position is the journal's end", func() bool { return followed(n.Replica, j) })
			}
			write(0, flushed)
			if err := n.Flush(); err != nil {
				t.Fatal(err)
			}
			write(flushed, flushed+tail)
			path = tc.end(t, n, path)
			before := j.deliveries()
			n = start(t, path, j)
			defer n.close(t)
			if got := j.deliveries() - before; got != tc.want {
				t.Errorf("%d messages were delivered again, want %d", got, tc.want)
			}
			write(flushed+tail, flushed+2*tail)
			for _, h := range histories {
				if err := compareAll(n.Replica, h); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A flush that failed is done again with what it had. Its positions are older
// than what was applied since, and a kill right after it must not find newer ones.
func TestAFlushThatFailsIsMadeUpFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.db")
	j := newFakeJournal(1)
	n := start(t, path, j)
	defer func() { n.close(t) }()
	h := newHistory("acme")
	write := func() {
		for range 5 {
			set := churn(int(h.head()))
			set.Changes = append(set.Changes, ledger.Change{Key: "large", Value: ledger.Value(`"` + strings.Repeat("x", 100_000) + `"`)})
			h.write(t, n.ledger, set)
		}
		eventually(t, "the position is the journal's end", func() bool { return followed(n.Replica, j) })
		if err := compareAll(n.Replica, h); err != nil {
			t.Fatal(err)
		}
	}
	write()
	n.FillDisk(true)
	if err := n.Flush(); err == nil || replica.IsDamage(err) {
		t.Fatalf("flush to a full disk: %v", err)
	}
	write()
	n.FillDisk(false)
	if err := n.Flush(); err != nil { // what failed, and not what came since
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := compareAll(n.Replica, h); err != nil {
		t.Fatal(err)
	}
	n.close(t)
	if err := os.WriteFile(path, file, 0o600); err != nil { // the kill between the two
		t.Fatal(err)
	}
	n = start(t, path, j)
	if err := compareAll(n.Replica, h); err != nil {
		t.Error(err)
	}
	if current, err := n.Check(t.Context()); !current || err != nil {
		t.Errorf("check: %v, %v", current, err)
	}
}

func TestAReplicaOfSomeTenantsHoldsOnlyThese(t *testing.T) {
	// All in the first of two shards, but for the last.
	ours, other, alone := ledger.Tenant("a"), ledger.Tenant(""), ledger.Tenant("")
	for _, tenant := range []ledger.Tenant{"b", "c", "d", "e", "f"} {
		if same := journal.ShardOf(tenant, 2) == journal.ShardOf(ours, 2); same && other == "" {
			other = tenant
		} else if !same && alone == "" {
			alone = tenant
		}
	}
	if other == "" || alone == "" {
		t.Fatal("the tenants do not share shards as this test wants")
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal(2)
		writer := start(t, filepath.Join(dir, "all.db"), j)
		defer writer.close(t)
		histories := map[ledger.Tenant]*history{ours: newHistory(ours), other: newHistory(other), alone: newHistory(alone)}
		for i := 1; i <= 30; i++ {
			for _, h := range histories {
				h.write(t, writer.ledger, churn(i))
			}
		}
		path := filepath.Join(dir, "some.db")
		n := start(t, path, j, ours)
		defer func() { n.close(t) }()
		if n.Tenants() != 1 || n.Head(other).Revision != 0 || n.Head(alone).Revision != 0 {
			t.Errorf("%d tenants; %s has the head %s", n.Tenants(), other, n.Head(other).Revision)
		}
		for i, sh := range n.Shards() {
			if sh.Empty != (i != journal.ShardOf(ours, 2)) {
				t.Errorf("shard %d: empty is %v", i, sh.Empty)
			}
		}
		// Others write for a long time, and ours does not.
		for i := range 20 {
			histories[other].write(t, writer.ledger, churn(100+i))
			histories[alone].write(t, writer.ledger, churn(100+i))
			time.Sleep(time.Second)
			synctest.Wait()
			if age := age(t, n.Replica, ours); age < 0 || age > 2*time.Second {
				t.Fatalf("the age of %s is %s while others write", ours, age)
			}
		}
		if err := compareAll(n.Replica, histories[ours]); err != nil {
			t.Error(err)
		}
		// Its own commits still come, and a restart finds them.
		histories[ours].write(t, writer.ledger, churn(200))
		if err := n.Wait(t.Context(), ours, histories[ours].head()); err != nil {
			t.Fatal(err)
		}
		n.close(t)
		before := j.deliveries()
		n = start(t, path, j, ours)
		if got := j.deliveries() - before; got != 0 {
			t.Errorf("%d messages were delivered again", got)
		}
		if err := compareAll(n.Replica, histories[ours]); err != nil {
			t.Error(err)
		}
	})
}

func TestAFileOfOtherTenantsIsBuiltAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.db")
	j := newFakeJournal(1)
	n := start(t, path, j)
	a, b := newHistory("a"), newHistory("b")
	a.write(t, n.ledger, churn(1))
	b.write(t, n.ledger, churn(2))
	n.close(t)
	n = start(t, path, j, "a")
	defer n.close(t)
	if err := compareAll(n.Replica, a); err != nil {
		t.Error(err)
	}
	if n.Head("b").Revision != 0 || n.Tenants() != 1 {
		t.Error("it still holds the other tenant")
	}
	if aside, err := filepath.Glob(path + ".damaged-*"); err != nil || len(aside) != 1 {
		t.Errorf("set aside: %v, %v", aside, err)
	}
}

func TestTheAgeCountsFromWhenTheReplicaWasLastCurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.db")
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal(2)
		n := start(t, path, j)
		h := newHistory("acme")
		h.write(t, n.ledger, churn(1))
		within := func(when string, least, most time.Duration) {
			t.Helper()
			synctest.Wait()
			if got := age(t, n.Replica, h.tenant); got < least || got > most {
				t.Errorf("%s the age is %s, want %s to %s", when, got, least, most)
			}
		}
		time.Sleep(time.Minute)
		within("with nothing to follow", 0, time.Second)
		j.alter(func() { j.down = true })
		time.Sleep(time.Minute)
		within("a minute without the journal", time.Minute, time.Minute+time.Second)
		if n.Stopped() != nil {
			t.Errorf("a journal that does not answer has stopped it: %v", n.Stopped())
		}
		n.close(t)

		time.Sleep(time.Hour)
		n = &node{Replica: open(t, path)}
		within("after a restart without the journal", time.Hour+time.Minute, time.Hour+time.Minute+time.Second)
		if err := compareAll(n.Replica, h); err != nil {
			t.Error(err)
		}
		if err := n.Follow(j); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		within("while it tries to follow", time.Hour+2*time.Minute, time.Hour+2*time.Minute+time.Second)

		j.alter(func() { j.down = false })
		time.Sleep(2 * time.Second)
		within("once the journal is back", 0, time.Second)
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
}

func age(t *testing.T, r *replica.Replica, tenant ledger.Tenant) time.Duration {
	t.Helper()
	v, err := r.View(tenant, replica.At{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	return v.State().Age
}

// A journal that says for a moment that it is shorter, and then is not, is no
// contradiction.
func TestAJournalThatIsShortForAMomentIsFollowedOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.db")
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal(1)
		n := start(t, path, j)
		defer n.close(t)
		h := newHistory("acme")
		for i := range 3 {
			h.write(t, n.ledger, churn(i))
		}
		synctest.Wait()
		for range 5 {
			j.alter(func() { j.ends[0] = 1 })
			time.Sleep(10 * time.Second)
			j.alter(func() { delete(j.ends, 0) })
			time.Sleep(10 * time.Second)
		}
		h.write(t, n.ledger, churn(3))
		if n.Stopped() != nil {
			t.Fatal(n.Stopped())
		}
		if err := compareAll(n.Replica, h); err != nil {
			t.Error(err)
		}
	})
}

// A journal that answers, but that it ends further on than what was delivered,
// does not make a replica current.
func TestAReplicaThatLagsIsNotCurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.db")
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal(1)
		n := start(t, path, j)
		defer n.close(t)
		j.alter(func() { j.ends[0] = 5 })
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := age(t, n.Replica, "acme"); got < time.Minute-time.Second {
			t.Errorf("five messages are missing for a minute, and the age is %s", got)
		}
	})
}

// The journal's end moves back under a replica that follows it.
func TestAJournalThatGetsShorterWhileItIsFollowedStopsTheReplica(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.db")
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal(1)
		n := start(t, path, j)
		defer n.close(t)
		h := newHistory("acme")
		for i := range 3 {
			h.write(t, n.ledger, churn(i))
		}
		synctest.Wait()
		j.mu.Lock()
		j.ends[0] = 2 // only who asks gets to know
		j.mu.Unlock()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n.Stopped() != nil { // a leader that was just elected may say so
			t.Errorf("stopped at once: %v", n.Stopped())
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n.Stopped() == nil {
			t.Fatal("it follows a journal that has lost a message")
		}
		if err := compareAll(n.Replica, h); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseLeavesNothingRunning(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	n := start(t, filepath.Join(t.TempDir(), "replica.db"), newFakeJournal(2))
	newHistory("acme").write(t, n.ledger, churn(1))
	n.close(t)
	if err := n.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}
