package replica_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"go.uber.org/goleak"
)

func TestRestart_ContinuesAtTheEndOfTheFile(t *testing.T) {
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
			j := newFakeJournal()
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
func TestFlush_FailureIsRetried(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.db")
	j := newFakeJournal()
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

func TestOpen_FileOfOtherTenantsIsRebuilt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.db")
	j := newFakeJournal()
	n := start(t, path, j)
	h := newHistory("a")
	h.write(t, n.ledger, churn(1))
	n.close(t)
	r, err := replica.Open(replica.Config{Path: path, Tenants: []ledger.Tenant{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Follow(j); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replica holds what the journal holds", func() bool { return r.Ready() && followed(r, j) })
	if err := compareAll(r, h); err != nil {
		t.Error(err)
	}
	if aside, err := filepath.Glob(path + ".damaged-*"); err != nil || len(aside) != 1 {
		t.Errorf("set aside: %v, %v", aside, err)
	}
}

func TestAge_CountsFromLastCurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.db")
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal()
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
func TestFollow_BrieflyShortJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.db")
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal()
		n := start(t, path, j)
		defer n.close(t)
		h := newHistory("acme")
		for i := range 3 {
			h.write(t, n.ledger, churn(i))
		}
		synctest.Wait()
		for range 5 {
			j.alter(func() { j.end = new(ledger.Sequence(1)) })
			time.Sleep(10 * time.Second)
			j.alter(func() { j.end = nil })
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
func TestAge_LaggingReplicaIsNotCurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.db")
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal()
		n := start(t, path, j)
		defer n.close(t)
		j.alter(func() { j.end = new(ledger.Sequence(5)) })
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := age(t, n.Replica, "acme"); got < time.Minute-time.Second {
			t.Errorf("five messages are missing for a minute, and the age is %s", got)
		}
	})
}

// The journal's end moves back under a replica that follows it.
func TestReplica_ShorterJournalStopsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.db")
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal()
		n := start(t, path, j)
		defer n.close(t)
		h := newHistory("acme")
		for i := range 3 {
			h.write(t, n.ledger, churn(i))
		}
		synctest.Wait()
		j.mu.Lock()
		j.end = new(ledger.Sequence(2)) // only who asks gets to know
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

func TestClose_StopsEveryGoroutine(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	n := start(t, filepath.Join(t.TempDir(), "replica.db"), newFakeJournal())
	newHistory("acme").write(t, n.ledger, churn(1))
	n.close(t)
	if err := n.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}
