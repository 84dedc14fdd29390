package main

import (
	"context"
	"math/rand/v2"

	"github.com/stelehq/stele/scripts/bench/peer"
)

var (
	reads = row{
		name:  "reads",
		about: "unary reads against etcd, NATS KV and the bare echo (13 min)",
		run:   together([]int{1, 100}, measureReads, allPeers),
	}
	batches = row{
		name:  "batches",
		about: "reads of 100 keys in one call (8 min)",
		run:   together([]int{1, 100}, measureBatches, stores),
	}
)

func measureReads(ctx context.Context, b *bench, sessions []*session) error {
	sec := section{
		"Reads, " + tenancy(len(sessions[0].data.tenants)),
		"Unary reads of random keys. etcd's reads are serializable except in the rows that say otherwise, NATS's are direct gets.",
	}
	callers := b.opts.callersOr(1, 16, 64, 256)
	err := b.alternate(ctx, sec, "", sessions, callers, func(s *session, c peer.Client, callers int) (sample, error) {
		r, ok := c.(peer.Reader)
		if !ok {
			return sample{}, errCannot
		}
		return s.closedLoop(ctx, callers, func(ctx context.Context, rng *rand.Rand) error {
			_, err := r.Read(ctx, s.data.tenant(rng), s.data.key(rng))
			return err
		})
	})
	if err != nil {
		return err
	}
	return b.alternate(ctx, sec, "linearizable, ", sessions, callers, func(s *session, c peer.Client, callers int) (sample, error) {
		r, ok := c.(peer.LinearizableReader)
		if !ok {
			return sample{}, errCannot
		}
		return s.closedLoop(ctx, callers, func(ctx context.Context, rng *rand.Rand) error {
			_, err := r.ReadLinearizable(ctx, s.data.tenant(rng), s.data.key(rng))
			return err
		})
	})
}

func measureBatches(ctx context.Context, b *bench, sessions []*session) error {
	sec := section{
		"Reads of 100 keys, " + tenancy(len(sessions[0].data.tenants)),
		"100 random keys of a tenant in one call. The rate counts keys, the latency is of the call.",
	}
	return b.alternate(ctx, sec, "", sessions, b.opts.callersOr(1, 16, 64, 256), func(s *session, c peer.Client, callers int) (sample, error) {
		r, ok := c.(peer.BatchReader)
		if !ok {
			return sample{}, errCannot
		}
		sm, err := s.closedLoop(ctx, callers, func(ctx context.Context, rng *rand.Rand) error {
			return r.ReadBatch(ctx, s.data.tenant(rng), s.data.set(rng))
		})
		return sm.times(setSize), err
	})
}
