package ledger_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
)

const year = 365 * 24 * time.Hour

// resolve is the revision in force at a time.
func resolve(t *testing.T, n *ledgertest.Node, at time.Time) ledger.Revision {
	t.Helper()
	v, err := n.Replica.View(acme, replica.At{Time: at})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	return v.State().Revision
}

// One commit under a clock that was a year ahead made every later commit carry its time: "as of
// now" was an old state, and imports were refused, for a year.
func TestClock_ResetEndsTimesThatAreAhead(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	commit := func(cs ledger.ChangeSet) (ledger.Result, error) { return n.Ledger.Commit(t.Context(), acme, cs) }
	imported := func(at time.Time) ledger.ChangeSet {
		cs := set("app/imported", "1")
		cs.Import = &ledger.Import{Time: at, Importer: "importer"}
		return cs
	}
	if _, err := commit(set("app/a", "1")); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	ledgertest.CommitAt(t, n, acme, time.Now().Add(year))
	ledgertest.CommitAt(t, n, acme, time.Now().Add(2*year))
	if got := resolve(t, n, time.Now()); got != 1 {
		t.Fatalf("before the reset, %s is in force now, want @1", got)
	}
	for name, cs := range map[string]ledger.ChangeSet{"write": set("app/a", "2"), "import": imported(time.Now())} {
		_, err := commit(cs)
		var ahead *ledger.AheadError
		if !errors.As(err, &ahead) || ahead.Head != 3 || !strings.Contains(err.Error(), "729 days ahead") && !strings.Contains(err.Error(), "730 days ahead") {
			t.Errorf("%s after commits that are ahead: %v, want an AheadError", name, err)
		}
	}
	r, ahead, err := n.Ledger.ResetClock(t.Context(), acme, "op", "the clock was wrong")
	if err != nil || r.Unchanged || r.Revision != 4 || r.Time.After(time.Now()) || ahead.Before(time.Now().Add(year)) {
		t.Fatalf("ResetClock = %+v, %s, %v; want @4 of now", r, ahead, err)
	}
	if got := resolve(t, n, time.Now()); got != 4 {
		t.Errorf("after the reset, %s is in force now, want @4", got)
	}
	if got := resolve(t, n, before); got != 1 {
		t.Errorf("after the reset, %s is in force at the time before it, want @1 as before", got)
	}
	if got := resolve(t, n, r.Time); got != 4 {
		t.Errorf("at the time of the reset, %s is in force, want @4", got)
	}
	if r, _, err := n.Ledger.ResetClock(t.Context(), acme, "op", "again"); err != nil || !r.Unchanged || r.Revision != 4 {
		t.Errorf("a second ResetClock = %+v, %v; want that nothing is written", r, err)
	}
	if r, err := commit(imported(time.Now())); err != nil || r.Revision != 5 {
		t.Errorf("import after the reset: %+v, %v", r, err)
	}
	if r, err := commit(set("app/a", "3")); err != nil || r.Revision != 6 || r.Time.After(time.Now()) {
		t.Errorf("write after the reset: %+v, %v", r, err)
	}
	if _, _, err := n.Ledger.ResetClock(t.Context(), "nobody", "op", "x"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("ResetClock of a tenant without commits: %v, want ErrNotFound", err)
	}
}

func TestClock_JumpRefusesWritesUntilItIsBack(t *testing.T) {
	for _, jump := range []time.Duration{year, -year, 2 * time.Minute, -2 * time.Minute} {
		t.Run(jump.String(), func(t *testing.T) {
			var clock ledgertest.Clock
			n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{Clock: &clock})
			write := func(value string) error {
				_, err := n.Ledger.Commit(t.Context(), acme, set("app/a", value))
				return err
			}
			if err := write("1"); err != nil {
				t.Fatal(err)
			}
			clock.Jump(jump)
			err := write("2")
			var wrong *ledger.ClockError
			if !errors.As(err, &wrong) || !errors.Is(err, ledger.ErrUnavailable) || (wrong.Ahead-jump).Abs() > time.Minute/2 {
				t.Fatalf("a write while the clock is off by %s: %v, want a ClockError", jump, err)
			}
			if n.Journal.Guard() == nil {
				t.Error("the journal reports no problem")
			}
			if got := resolve(t, n, time.Now()); got != 1 {
				t.Errorf("%s is in force, want @1", got)
			}
			clock.Jump(0)
			if err := write("3"); err != nil {
				t.Errorf("a write after the clock is back: %v", err)
			}
		})
	}
}

// A clock that is off by less than the bound is corrected to the parent's time, not refused.
func TestClock_SmallDifferenceIsAccepted(t *testing.T) {
	var clock ledgertest.Clock
	s := ledgertest.Server(t)
	fast, right := ledgertest.Start(t, s, ledgertest.Config{Clock: &clock}), ledgertest.Start(t, s, ledgertest.Config{})
	clock.Jump(50 * time.Second)
	first, err := fast.Ledger.Commit(t.Context(), acme, set("app/a", "1"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := right.Ledger.Commit(t.Context(), acme, set("app/a", "2"))
	if err != nil || !second.Time.Equal(first.Time) {
		t.Errorf("a write after one that is 50 s ahead: %v, %v; want the parent's time %s", second.Time, err, first.Time)
	}
}

// stamped is a journal whose newest message was stamped at a wrong time.
type stamped struct {
	ledger.Journal
	ahead atomic.Int64
}

func (j *stamped) Clock() (ledger.Clock, error) {
	c, err := j.Journal.Clock()
	c.Stamp = c.Now.Add(time.Duration(j.ahead.Load()))
	return c, err
}

// A process does not know whether its clock is behind the newest message, or that was stamped while
// a clock was ahead. It refuses writes until an operator says so.
func TestClock_BehindTheNewestMessage(t *testing.T) {
	j := new(stamped)
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{Wrap: func(to ledger.Journal) ledger.Journal {
		j.Journal = to
		return j
	}})
	write := func() error {
		_, err := n.Ledger.Commit(t.Context(), acme, set("app/a", "1"))
		return err
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	j.ahead.Store(int64(year))
	var wrong *ledger.ClockError
	if err := write(); err != nil {
		t.Errorf("a write that changes nothing: %v", err)
	}
	if _, err := n.Ledger.Commit(t.Context(), acme, set("app/a", "2")); !errors.As(err, &wrong) || wrong.Ahead > -year+time.Minute {
		t.Errorf("a write: %v, want a ClockError", err)
	}
	if err := n.Ledger.Writable(); !errors.As(err, &wrong) {
		t.Errorf("Writable = %v", err)
	}
	if r, _, err := n.Ledger.ResetClock(t.Context(), acme, "op", "this clock is right"); err != nil || r.Unchanged || r.Revision != 2 {
		t.Errorf("ResetClock = %+v, %v; want @2", r, err)
	}
	j.ahead.Store(0) // the journal's newest message is now the one of the reset
	if r, err := n.Ledger.Commit(t.Context(), acme, set("app/a", "2")); err != nil || r.Revision != 3 {
		t.Errorf("a write after the reset: %+v, %v", r, err)
	}
}

// guarded is a journal that refuses writes.
type guarded struct {
	ledger.Journal
	err error
}

func (j guarded) Guard() error { return j.err }

func TestWritable_ReportsTheJournalsGuard(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{Wrap: func(to ledger.Journal) ledger.Journal {
		return guarded{to, ledger.ErrNoSpace}
	}})
	if err := n.Ledger.Writable(); !errors.Is(err, ledger.ErrNoSpace) {
		t.Errorf("Writable = %v, want %v", err, ledger.ErrNoSpace)
	}
}
