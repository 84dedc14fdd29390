package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/stelehq/stele/scripts/bench/peer"
	"golang.org/x/sync/errgroup"
)

var history = row{
	name:  "history",
	about: "time travel through a million commits of a real history (10 min)",
	run:   apart([]int{1}, measureHistory, stores),
}

// The readers of the past, and the size of the rollback.
const (
	pastCallers   = 64
	pageOfCommits = 50
	rollbackKeys  = 2000
)

func measureHistory(ctx context.Context, s *session) error {
	path := filepath.Join(s.opts.root, "..", "shared", "data", "govuk-settings.jsonl.gz")
	if s.opts.history != "" {
		path = s.opts.history
	}
	changeLog, err := readChangeLog(path)
	if errors.Is(err, os.ErrNotExist) {
		log.Printf("history: skipped: there is no %s", path)
		return nil
	}
	if err != nil {
		return err
	}
	c, err := s.dial(ctx, pastCallers)
	if err != nil {
		return err
	}
	defer c.Close()
	h, ok := c.(peer.Historian)
	if !ok {
		return nil
	}
	sec := section{
		fmt.Sprintf("Time travel, %d commits", s.opts.writes),
		"A real history (four years of an organization's settings), copied until it has this many commits. A tenth means a tenth of each tenant's history; the keys are those that a random change set in it set, read as of that time.",
	}
	past := changeLog.copies(s.opts.writes)
	if err := past.replay(ctx, h); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	for _, row := range []struct {
		name string
		// The part of a history whose revisions are read; none at head.
		from, to float64
	}{{"get at head", 1, 1}, {"get in the newest tenth", 0.9, 1}, {"get in the middle tenth", 0.45, 0.55}, {"get in the oldest tenth", 0, 0.1}} {
		for _, callers := range []int{1, pastCallers} {
			sm, err := s.closedLoop(ctx, callers, func(ctx context.Context, rng *rand.Rand) error {
				t := past[rng.IntN(len(past))]
				if row.from == row.to {
					return h.ReadAt(ctx, t.name, t.live[rng.IntN(len(t.live))], 0)
				}
				key, at := t.random(rng, row.from, row.to)
				return h.ReadAt(ctx, t.name, key, at)
			})
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s.report.rate(sec, row.name+", "+count(callers, "caller", "callers"), s.peer, sm, "", err)
		}
	}
	if tt, ok := c.(peer.TimeTraveller); ok {
		if err := s.timeTravel(ctx, sec, tt, past[0]); err != nil {
			return err
		}
	}
	if err := s.rss("after the history"); err != nil {
		return err
	}
	if a, ok := s.peer.(peer.Auditable); ok {
		return s.audit(ctx, sec, a, past)
	}
	return nil
}

// audit measures what proves the history.
func (s *session) audit(ctx context.Context, sec section, a peer.Auditable, past pasts) error {
	if err := s.proc.Stop(syscall.SIGTERM); err != nil {
		return err
	}
	begun := time.Now()
	if err := a.Verify(ctx, s.dir); err != nil {
		return err
	}
	took := time.Since(begun)
	s.report.duration(sec, "verify of the stopped ledger: journal, chains, trees, checkpoints, replica", s.peer, took)
	s.report.detail(sec, s.peer, fmt.Sprintf("verifies %.0f commits/s, on both cores", float64(s.opts.writes)/took.Seconds()))

	if err := a.ForgetTree(s.dir); err != nil {
		return err
	}
	begun = time.Now()
	proc, err := peer.Start(ctx, s.peer, s.dir)
	if err != nil {
		return err
	}
	s.proc = proc
	names := make([]string, len(past))
	for i, t := range past {
		names[i] = t.name
	}
	err = s.proc.Await(ctx, func(ctx context.Context, c peer.Client) error { return c.(peer.Prover).Covered(ctx, names) })
	took = time.Since(begun)
	s.report.duration(sec, "start without a tree, until a checkpoint covers every commit", s.peer, took)
	s.report.detail(sec, s.peer, fmt.Sprintf("appends %.0f commits/s to its trees, reading them from the journal", float64(s.opts.writes)/took.Seconds()))
	return err
}

// timeTravel measures what only a ledger does.
func (s *session) timeTravel(ctx context.Context, sec section, tt peer.TimeTraveller, t *tenantPast) error {
	busiest := t.busiest()
	sm, err := s.closedLoop(ctx, 1, func(ctx context.Context, _ *rand.Rand) error {
		return tt.Log(ctx, t.name, busiest, pageOfCommits)
	})
	s.report.rate(sec, fmt.Sprintf("log page of %d on the busiest key", pageOfCommits), s.peer, sm, "", err)
	newest := t.sets[len(t.sets)-1].Time
	sm, err = s.closedLoop(ctx, 1, func(ctx context.Context, _ *rand.Rand) error {
		_, err := tt.Diff(ctx, t.name, newest.AddDate(-1, 0, 0), newest)
		return err
	})
	s.report.rate(sec, "diff of two states a year apart", s.peer, sm, "", err)
	if n, err := tt.Diff(ctx, t.name, newest.AddDate(-1, 0, 0), newest); err == nil {
		s.report.detail(sec, s.peer, fmt.Sprintf("finds %d keys that differ between two states a year apart", n))
	}

	const tenant = "rollback"
	w := tt.(peer.SetWriter)
	for _, value := range []string{"1", "2"} {
		set := make([]peer.Entry, rollbackKeys)
		for i := range set {
			set[i] = peer.Entry{Key: fmt.Sprintf("tenantconfig/svc/setting-%06d", i), Value: value}
		}
		if err := w.WriteSet(ctx, tenant, set); err != nil {
			return err
		}
	}
	sm, err = s.closedLoop(ctx, 1, func(ctx context.Context, _ *rand.Rand) error {
		return tt.RollbackOne(ctx, tenant)
	})
	s.report.rate(sec, fmt.Sprintf("rollback of %d keys", rollbackKeys), s.peer, sm, "", err)
	return ctx.Err()
}

// tenantPast is one tenant's history and the revisions after each change set, as the
// peer names them.
type tenantPast struct {
	name      string
	sets      []peer.ChangeSet
	revisions []int64
	live      []string // keys that are set at head
}

// random is a key that a change set in that part of the history has set, and the
// revision after it.
func (t *tenantPast) random(rng *rand.Rand, from, to float64) (string, int64) {
	low, high := int(from*float64(len(t.sets))), int(to*float64(len(t.sets)))
	for {
		i := low + rng.IntN(max(1, high-low))
		ch := t.sets[i].Changes[rng.IntN(len(t.sets[i].Changes))]
		if ch.Value != "" {
			return ch.Key, t.revisions[i]
		}
	}
}

type pasts []*tenantPast

// replay writes all histories, side by side.
func (p pasts) replay(ctx context.Context, h peer.Historian) error {
	begun := time.Now()
	var (
		mu   sync.Mutex
		sets int
	)
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range p {
		g.Go(func() (err error) {
			t.revisions, err = h.Replay(ctx, t.name, t.sets)
			mu.Lock()
			defer mu.Unlock()
			sets += len(t.sets)
			return err
		})
	}
	err := g.Wait()
	log.Printf("history: %d change sets of %d tenants in %s", sets, len(p), time.Since(begun).Round(time.Second))
	return err
}
