package main

import (
	"context"
	"math/rand/v2"

	"github.com/stelehq/stele/scripts/bench/peer"
)

var streams = row{
	name:  "streams",
	about: "pipelined reads and writes (8 min)",
	run:   together([]int{1, 100}, measureStreams, stores),
}

func measureStreams(ctx context.Context, b *bench, sessions []*session) error {
	sec := section{
		"Streams, " + tenancy(len(sessions[0].data.tenants)),
		"Reads and durable writes of single keys, pipelined: Stele's Read and CommitStream, NATS's asynchronous publish. etcd has no such call.",
	}
	callers := b.opts.callersOr(1, 16, 64, 256)
	err := b.alternate(ctx, sec, "reads, ", sessions, callers, func(s *session, c peer.Client, callers int) (sample, error) {
		r, ok := c.(peer.StreamReader)
		if !ok {
			return sample{}, errCannot
		}
		return s.pipelined(ctx, callers, func(ctx context.Context, caller int) (pipe, error) {
			st, err := r.OpenReads(ctx, s.data.tenants[caller%len(s.data.tenants)])
			if err != nil {
				return pipe{}, err
			}
			send := func(rng *rand.Rand) error { return st.Send(s.data.key(rng)) }
			return pipe{send, st.Recv, st.CloseSend}, nil
		})
	})
	if err != nil {
		return err
	}
	return b.alternate(ctx, sec, "writes, ", sessions, callers, func(s *session, c peer.Client, callers int) (sample, error) {
		w, ok := c.(peer.StreamWriter)
		if !ok {
			return sample{}, errCannot
		}
		return s.pipelined(ctx, callers, func(ctx context.Context, caller int) (pipe, error) {
			st, err := w.OpenWrites(ctx, s.data.tenants[caller%len(s.data.tenants)])
			if err != nil {
				return pipe{}, err
			}
			send := func(rng *rand.Rand) error { return st.Send(s.data.entry(rng)) }
			return pipe{send, st.Recv, st.CloseSend}, nil
		})
	})
}
