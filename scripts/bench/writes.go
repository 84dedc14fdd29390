package main

import (
	"context"
	"math/rand/v2"

	"github.com/stelehq/stele/scripts/bench/peer"
)

var (
	writes = row{
		name:  "writes",
		about: "durable writes of one key, fsync always, 1, 100 and 1,000 tenants (12 min)",
		run:   together([]int{1, 100, 1000}, measureWrites, stores),
	}
	cluster = row{
		name:  "cluster",
		about: "the same on three servers: three NATS servers and one stele serve, three etcd members (15 min)",
		run:   together([]int{1, 100, 1000}, measureClusterWrites, clusters),
	}
	changeSets = row{
		name:  "changesets",
		about: "change sets of 100 keys (8 min)",
		run:   together([]int{1, 100}, measureChangeSets, stores),
	}
)

// clusters are the peers that keep data, each on three servers.
func clusters(b *bench) []peer.Peer {
	const servers = 3
	var peers []peer.Peer
	for _, p := range stores(b) {
		switch p := p.(type) {
		case peer.Stele:
			peers = append(peers, peer.SteleServe{Stele: p, Servers: servers, Ledgers: 1})
		case peer.Etcd:
			peers = append(peers, peer.Etcd{Servers: servers})
		case peer.NATS:
			peers = append(peers, peer.NATS{NoSync: p.NoSync, Servers: servers})
		}
	}
	return peers
}

func measureWrites(ctx context.Context, b *bench, sessions []*session) error {
	return b.measureWrites(ctx, sessions, section{
		"Durable writes, " + tenancy(len(sessions[0].data.tenants)),
		"One random key and a value of 256 bytes per write, answered when it is synced to disk (nats-nosync: before).",
	})
}

func measureClusterWrites(ctx context.Context, b *bench, sessions []*session) error {
	return b.measureWrites(ctx, sessions, section{
		"Durable writes on three servers, " + tenancy(len(sessions[0].data.tenants)),
		"As on one server, answered when a majority has synced the write. All servers run on this machine and share its disk; the callers' connections are spread over them.",
	})
}

func (b *bench) measureWrites(ctx context.Context, sessions []*session, sec section) error {
	return b.alternate(ctx, sec, "", sessions, b.opts.callersOr(1, 16, 64, 256), func(s *session, c peer.Client, callers int) (sample, error) {
		w, ok := c.(peer.Writer)
		if !ok {
			return sample{}, errCannot
		}
		return s.closedLoop(ctx, callers, func(ctx context.Context, rng *rand.Rand) error {
			return w.Write(ctx, s.data.tenant(rng), s.data.entry(rng))
		})
	})
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
