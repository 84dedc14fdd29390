package main

import (
	"context"
	"math/rand/v2"

	"github.com/stelehq/stele/scripts/bench/peer"
)

var changeSets = theme{name: "changesets", tenancies: true, run: measureChangeSets}

func measureChangeSets(ctx context.Context, s *session) error {
	sec := section{
		"Change sets of 100, " + tenancy(len(s.data.tenants)),
		"100 random keys of a tenant written whole or not at all: Stele's change sets, etcd's transactions, NATS's atomic batches. Counted in changes; the latency is of the whole set.",
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	err := s.each(ctx, sec, "unary", func(c peer.Client, callers int) (sample, string, error) {
		w, ok := c.(peer.SetWriter)
		if !ok {
			return sample{}, "", errCannot
		}
		sm, err := s.closedLoop(ctx, callers, func(ctx context.Context, rng *rand.Rand) error {
			return w.WriteSet(ctx, s.data.tenant(rng), entries(rng, s.data.set(rng)))
		})
		return sm.times(setSize), "", err
	})
	if err != nil {
		return err
	}
	return s.rss("after the change sets, " + tenancy(len(s.data.tenants)))
}
