package main

import (
	"context"
	"math/rand/v2"

	"github.com/stelehq/stele/scripts/bench/peer"
)

var writes = theme{name: "writes", tenancies: true, run: measureWrites}

func measureWrites(ctx context.Context, s *session) error {
	sec := section{
		"Writes, " + tenancy(len(s.data.tenants)),
		"One random key a write, answered when it is durable (nats-nosync: when it is not). Streamed is Stele's CommitStream and NATS's asynchronous publish; a peer without shows its unary writes.",
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	unary := map[int]sample{}
	err := s.each(ctx, sec, "unary", func(c peer.Client, callers int) (sample, string, error) {
		w, ok := c.(peer.Writer)
		if !ok {
			return sample{}, "", errCannot
		}
		sm, err := s.closedLoop(ctx, callers, func(ctx context.Context, rng *rand.Rand) error {
			return w.Write(ctx, s.data.tenant(rng), s.data.entry(rng))
		})
		if err == nil {
			unary[callers] = sm
		}
		return sm, "", err
	})
	if err != nil {
		return err
	}
	err = s.each(ctx, sec, "streamed", func(c peer.Client, callers int) (sample, string, error) {
		w, ok := c.(peer.StreamWriter)
		if !ok {
			return inPlace(unary, callers)
		}
		sm, err := s.pipelined(ctx, callers, func(ctx context.Context, caller int) (pipe, error) {
			st, err := w.OpenWrites(ctx, s.data.tenants[caller%len(s.data.tenants)])
			if err != nil {
				return pipe{}, err
			}
			send := func(rng *rand.Rand) error { return st.Send(s.data.entry(rng)) }
			return pipe{send, st.Recv, st.CloseSend}, nil
		})
		return sm, "", err
	})
	if err != nil {
		return err
	}
	return s.rss("after the writes, " + tenancy(len(s.data.tenants)))
}
