package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stelehq/stele/scripts/bench/peer"
)

var ledgers = row{
	name:  "ledgers",
	about: "1, 2 and 3 ledger processes on one NATS server and on three (9 min)",
	run:   measureLedgers,
}

// ledgerTenants share the keys of the row.
const ledgerTenants = 100

func measureLedgers(ctx context.Context, b *bench) error {
	sec := section{
		fmt.Sprintf("Ledger processes, %s", tenancy(ledgerTenants)),
		"Durable writes of one key to 1, 2 and 3 stele serve processes that share one NATS server, or three. The callers are the sum over the processes and divided evenly. After the latencies: the smallest and the largest share of a process in all commits.",
	}
	b.report.baselines[sec.title] = ledgerColumn(1)
	defer func() { b.report.round = 0 }()
	for _, servers := range []int{1, 3} {
		for round := range b.opts.rounds {
			for i := range 3 {
				n := 1 + (i+round)%3
				b.report.round = round
				p := peer.SteleServe{Stele: b.stele, Servers: servers, Ledgers: n}
				err := b.alone(ctx, p, newDataset(min(b.opts.keys, 10_000), ledgerTenants), func(ctx context.Context, s *session) error {
					if _, err := s.fill(ctx, s.data); err != nil {
						return err
					}
					return s.measureShares(ctx, sec, servers, n)
				})
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					b.report.fail(b.row, ledgerColumn(n), err)
				}
			}
		}
	}
	return nil
}

func ledgerColumn(processes int) column { return column(count(processes, "process", "processes")) }

// measureShares measures the writes of callers that are divided over the processes.
func (s *session) measureShares(ctx context.Context, sec section, servers, processes int) error {
	for _, callers := range s.opts.callersOr(16, 64, 256) {
		sm, share, err := s.shares(ctx, processes, callers)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		name := count(servers, "server", "servers") + ", " + count(callers, "caller", "callers")
		s.report.rate(sec, name, ledgerColumn(processes), sm, share, err)
	}
	return nil
}

func (s *session) shares(ctx context.Context, processes, callers int) (sample, string, error) {
	writers := make([]peer.Writer, processes)
	for i := range writers {
		c, err := s.proc.DialOne(ctx, i, 1+callers/processes/callersPerConn)
		if err != nil {
			return sample{}, "", err
		}
		defer c.Close()
		writers[i] = c.(peer.Writer)
	}
	histograms, l, err := s.histograms(ctx, callers, func(ctx context.Context, caller int, sp span, h *hdrhistogram.Histogram) error {
		rng, w := newRand(caller), writers[caller%processes]
		return loop(ctx, sp, h, func(ctx context.Context) error { return w.Write(ctx, s.data.tenant(rng), s.data.entry(rng)) })
	})
	if err != nil {
		return sample{}, "", err
	}
	counts := make([]int64, processes)
	for caller, h := range histograms {
		counts[caller%processes] += h.TotalCount()
	}
	sm := sampleOf(merge(histograms), s.opts.duration)
	sm.limits = l
	if processes == 1 {
		return sm, "", nil
	}
	return sm, sharesText(counts), nil
}

// sharesText is the smallest and the largest part of the sum.
func sharesText(counts []int64) string {
	var sum int64
	for _, n := range counts {
		sum += n
	}
	return fmt.Sprintf("%.2f to %.2f", float64(slices.Min(counts))/float64(sum), float64(slices.Max(counts))/float64(sum))
}
