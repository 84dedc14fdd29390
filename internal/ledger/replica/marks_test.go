package replica_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"
)

// timed is a model of a tenant's commit times: one by one, as they were written.
type timed struct {
	at   time.Time
	mark bool
}

// effective is the definition, word for word: the earliest of the commit's own time and the
// times of all later marks.
func effective(commits []timed, i int) time.Time {
	at := commits[i].at
	for _, later := range commits[i+1:] {
		if later.mark && later.at.Before(at) {
			at = later.at
		}
	}
	return at
}

// inForce is the newest revision that is not later than a time, found one by one.
func inForce(commits []timed, at time.Time) (newest ledger.Revision) {
	for i := range commits {
		if !effective(commits, i).After(at) {
			newest = ledger.Revision(i + 1)
		}
	}
	return newest
}

// appendTimed appends a commit with a time of its own to the journal.
func appendTimed(t failer, j *fakeJournal, r *replica.Replica, tenant ledger.Tenant, c timed) {
	t.Helper()
	head, epoch := r.Head(tenant), j.Epoch()
	p := &stelev1.Commit{Epoch: epoch[:], Tenant: string(tenant), Revision: uint64(head.Revision) + 1, Time: timestamppb.New(c.at), Author: "ann"}
	if head.Revision > 0 {
		p.Parent = head.ID[:]
	}
	if c.mark {
		p.Origin = ledger.OriginProto(&ledger.ClockOrigin{Ahead: time.Unix(0, head.Time)})
	} else {
		p.Changes = []*stelev1.Change{{Key: "app/a", Value: `"` + c.at.Format(time.RFC3339Nano) + `"`, PreviousRevision: uint64(head.Revision)}}
	}
	encoded, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	seq, err := j.Append(context.Background(), r.Position(), append(ledger.AppendRecordItem(nil, len(encoded)), encoded...))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.WaitPosition(context.Background(), seq); err != nil {
		t.Fatal(err)
	}
}

// TestAsOf_ResetClocks compares all reads by time with the definition, for random clocks, marks,
// flushes and restarts, at a replica of the journal and at an edge that drops history.
func TestAsOf_ResetClocks(t *testing.T) {
	defer replica.NoFlushLoop()()
	began := time.Now().Add(-1000 * time.Hour).Truncate(time.Second)
	rapid.Check(t, func(rt *rapid.T) {
		dir, j := t.TempDir(), newFakeJournal()
		path := filepath.Join(dir, "core.db")
		n := start(rt, path, j)
		defer func() { n.close(rt) }()
		const tenant ledger.Tenant = "acme"
		hour := rapid.Custom(func(rt *rapid.T) time.Time {
			return began.Add(time.Duration(rapid.IntRange(0, 20).Draw(rt, "hour")) * time.Hour)
		})
		var commits []timed
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch step := rapid.SampledFrom([]string{"commit", "commit", "commit", "mark", "flush", "full disk", "restart"}).Draw(rt, "step"); step {
			case "commit", "mark":
				c := timed{hour.Draw(rt, "at"), step == "mark"}
				if n := len(commits); n > 0 && !c.mark && c.at.Before(commits[n-1].at) {
					c.at = commits[n-1].at
				}
				appendTimed(rt, j, n.Replica, tenant, c)
				commits = append(commits, c)
			case "flush":
				if err := n.Flush(); err != nil {
					rt.Fatal(err)
				}
			case "full disk": // what is applied from now on is written by a later flush
				n.FillDisk(true)
				_ = n.Flush()
				n.FillDisk(false)
			case "restart":
				n.close(rt)
				n = start(rt, path, j)
			}
		}
		if len(commits) == 0 {
			return
		}
		compareTimes(rt, n.Replica, tenant, commits, 1, began)
		e := startEdge(rt, filepath.Join(dir, "edge.db"), n.Replica, replica.History{For: time.Hour})
		defer e.close(rt)
		e.pull(rt, n.Replica, 3)
		if err := e.Flush(); err != nil {
			rt.Fatal(err)
		}
		now := hour.Draw(rt, "now")
		if err := e.Prune(now, rapid.IntRange(1, 5).Draw(rt, "budget"), func(int) {}); err != nil {
			rt.Fatal(err)
		}
		kept := max(inForce(commits, now.Add(-time.Hour)), 1)
		compareTimes(rt, e.Replica, tenant, commits, kept, began)
		for _, r := range []*replica.Replica{n.Replica, e.Replica} {
			if err := r.Flush(); err != nil {
				rt.Fatal(err)
			}
			if _, err := r.Check(context.Background()); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

// compareTimes compares the reads by time of a replica that keeps history since a revision.
func compareTimes(t failer, r *replica.Replica, tenant ledger.Tenant, commits []timed, kept ledger.Revision, start time.Time) {
	t.Helper()
	v, err := r.View(tenant, replica.At{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	head := ledger.Revision(len(commits))
	first, err := v.First()
	if want := effective(commits, int(kept-1)); err != nil || !first.Equal(want) {
		t.Fatalf("First = %s, %v; want %s of %s", first, err, want, kept)
	}
	for i := range commits[kept-1:] {
		rev := kept + ledger.Revision(i)
		if got, want := v.Effective(rev, commits[rev-1].at), effective(commits, int(rev-1)); !got.Equal(want) {
			t.Fatalf("the effective time of %s is %s, want %s", rev, got, want)
		}
	}
	var times []time.Time
	for i := -1; i <= 42; i++ {
		times = append(times, start.Add(time.Duration(i)*time.Hour/2))
	}
	found, err := v.RevisionsAt(times)
	if err != nil {
		t.Fatal(err)
	}
	for i, at := range times {
		want := inForce(commits, at)
		if found[i] != max(want, kept-1) {
			t.Fatalf("RevisionsAt(%s) = %s, want %s", at, found[i], max(want, kept-1))
		}
		got, err := v.Resolve(replica.At{Time: at})
		var before *ledger.HistoryError
		var none *ledger.RangeError
		switch {
		case want == 0 && kept == 1:
			if !errors.As(err, &none) {
				t.Fatalf("Resolve(%s) = %s, %v; want a RangeError", at, got, err)
			}
		case want < kept:
			if !errors.As(err, &before) {
				t.Fatalf("Resolve(%s) = %s, %v; want a HistoryError", at, got, err)
			}
		case err != nil || got != want:
			t.Fatalf("Resolve(%s) = %s, %v; want %s", at, got, err, want)
		}
		since, err := v.Since(at)
		if want := inForce(commits, at.Add(-1)) + 1; err != nil || since != max(want, kept) && since != max(want, kept)-1 {
			t.Fatalf("Since(%s) = %s, %v; want %s", at, since, err, want)
		}
	}
	if v.State().Head != head {
		t.Fatalf("the head is %s, want %s", v.State().Head, head)
	}
}

// A mark does not change which commit is found at any time before its own.
func TestAsOf_ResetClockKeepsEarlierAnswers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 2000 {
		var commits []timed
		for range 1 + rng.IntN(12) {
			c := timed{start.Add(time.Duration(rng.IntN(30)) * time.Hour), rng.IntN(4) == 0}
			if n := len(commits); n > 0 && !c.mark {
				c.at = slices.MaxFunc([]time.Time{c.at, commits[n-1].at}, time.Time.Compare)
			}
			commits = append(commits, c)
		}
		mark := timed{start.Add(time.Duration(rng.IntN(30)) * time.Hour), true}
		for at := start; at.Before(mark.at); at = at.Add(time.Hour) {
			if was, is := inForce(commits, at), inForce(append(slices.Clone(commits), mark), at); was != is {
				t.Fatalf("at %s, %s was in force, and %s after a mark of %s", at, was, is, mark.at)
			}
		}
	}
}
