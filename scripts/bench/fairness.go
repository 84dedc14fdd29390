package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stelehq/stele/scripts/bench/peer"
	"golang.org/x/sync/errgroup"
)

var fairness = row{
	name:  "fairness",
	about: "a tenant that commits 10 times a second, alone and while another imports (6 min)",
	run:   together([]int{2}, measureFairness, stores),
}

const (
	// importers are the callers of the tenant that imports.
	importers = 16
	// calmPace is the time between two commits of the other tenant.
	calmPace = 100 * time.Millisecond
)

func measureFairness(ctx context.Context, b *bench, sessions []*session) error {
	length := time.Duration(b.opts.scaled(20, 3)) * time.Second
	sec := section{
		"Fairness",
		fmt.Sprintf("One tenant commits a key every %s for %s: alone, then while another tenant imports change sets of %d with %d callers. The latency is from when a commit is due until it is acknowledged; the factor is that during the import divided by that alone.",
			calmPace, length, setSize, importers),
	}
	return b.inRounds(ctx, sessions, func(s *session) error {
		err := s.fairness(ctx, sec, length)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.report.latency(sec, "alone", s.peer, sample{}, err)
		}
		return nil
	})
}

func (s *session) fairness(ctx context.Context, sec section, length time.Duration) error {
	c, err := s.dial(ctx, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	bulk, err := s.dial(ctx, importers)
	if err != nil {
		return err
	}
	defer bulk.Close()
	w, ok := c.(peer.Writer)
	set, okSet := bulk.(peer.SetWriter)
	if !ok || !okSet {
		return nil
	}
	alone, err := s.calm(ctx, w, length)
	if err != nil {
		return err
	}
	importing, stop := context.WithCancel(ctx)
	defer stop()
	var (
		g    errgroup.Group
		mu   sync.Mutex // guards sets
		sets int
	)
	begun := time.Now()
	for i := range importers {
		g.Go(func() error {
			rng := newRand(i)
			for {
				err := set.WriteSet(importing, s.data.tenants[1], entries(rng, s.data.set(rng)))
				if importing.Err() != nil {
					return nil
				}
				if err != nil {
					stop()
					return fmt.Errorf("import: %w", err)
				}
				mu.Lock()
				sets++
				mu.Unlock()
			}
		})
	}
	time.Sleep(s.opts.warmup)
	during, err := s.calm(importing, w, length)
	took := time.Since(begun)
	stop()
	if err := errors.Join(g.Wait(), err); err != nil {
		return err
	}
	s.report.latency(sec, "alone", s.peer, alone, nil)
	s.report.latency(sec, "during the import", s.peer, during, nil)
	s.report.add(sec, result{
		Case: "factor", Peer: s.peer.Name(), Kind: kindFactor,
		P50: during.p50.Seconds() / alone.p50.Seconds(), P99: during.p99.Seconds() / alone.p99.Seconds(),
	})
	s.report.rate(sec, "changes imported", s.peer, sample{rate: float64(sets*setSize) / took.Seconds()}, "", nil)
	return nil
}

// calm commits keys of the first tenant at an even pace, whether or not the ones
// before have been acknowledged.
func (s *session) calm(ctx context.Context, w peer.Writer, length time.Duration) (sample, error) {
	m, err := measureLimits(s.proc.CPU, s.dir)
	if err != nil {
		return sample{}, err
	}
	var (
		mu  sync.Mutex // guards h
		h   = newHistogram()
		rng = newRand(0)
	)
	g, callCtx := errgroup.WithContext(ctx)
	begun := time.Now()
	for i := range int(length / calmPace) {
		due := begun.Add(time.Duration(i) * calmPace)
		select {
		case <-time.After(time.Until(due)):
		case <-callCtx.Done():
			return sample{}, errors.Join(callCtx.Err(), g.Wait())
		}
		e := s.data.entry(rng)
		g.Go(func() error {
			err := w.Write(callCtx, s.data.tenants[0], e)
			mu.Lock()
			defer mu.Unlock()
			_ = h.RecordValue(time.Since(due).Nanoseconds())
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return sample{}, err
	}
	sm := sampleOf(h, length)
	sm.limits, err = m.stop()
	return sm, err
}
