package main

import (
	"context"
	"math/rand/v2"

	"github.com/stelehq/stele/scripts/bench/peer"
)

var changeSets = row{
	name:  "changesets",
	about: "change sets of 100 keys (8 min)",
	run:   together([]int{1, 100}, measureChangeSets, stores),
}

func measureChangeSets(ctx context.Context, b *bench, sessions []*session) error {
	sec := section{
		"Change sets of 100, " + tenancy(len(sessions[0].data.tenants)),
		"100 random keys of a tenant written atomically: Stele's change sets, etcd's transactions, NATS's atomic batches. The rate counts changes, the latency is of the whole set.",
	}
	return b.alternate(ctx, sec, "", sessions, b.opts.callersOr(1, 16, 64, 256), func(s *session, c peer.Client, callers int) (sample, error) {
		w, ok := c.(peer.SetWriter)
		if !ok {
			return sample{}, errCannot
		}
		sm, err := s.closedLoop(ctx, callers, func(ctx context.Context, rng *rand.Rand) error {
			return w.WriteSet(ctx, s.data.tenant(rng), entries(rng, s.data.set(rng)))
		})
		return sm.times(setSize), err
	})
}
