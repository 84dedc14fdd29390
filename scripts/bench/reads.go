package main

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/stelehq/stele/scripts/bench/peer"
)

var reads = theme{name: "reads", tenancies: true, run: measureReads}

// errCannot is the result of a peer that has no such operation.
var errCannot = errors.New("-")

// inPlace is the unary sample, for a peer that cannot do the thing itself.
func inPlace(unary map[int]sample, callers int) (sample, string, error) {
	sm, ok := unary[callers]
	if !ok {
		return sample{}, "", errCannot
	}
	return sm, "unary", nil
}

func measureReads(ctx context.Context, s *session) error {
	sec := section{
		"Reads, " + tenancy(len(s.data.tenants)),
		"Random keys. etcd's unary reads are serializable, NATS's are direct gets; a peer without linearizable or streamed reads of its own shows its unary ones there. Batches are counted in keys.",
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	unary := map[int]sample{}
	err := s.each(ctx, sec, "unary", func(c peer.Client, callers int) (sample, string, error) {
		r, ok := c.(peer.Reader)
		if !ok {
			return sample{}, "", errCannot
		}
		sm, err := s.closedLoop(ctx, callers, func(ctx context.Context, rng *rand.Rand) error {
			_, err := r.Read(ctx, s.data.tenant(rng), s.data.key(rng))
			return err
		})
		if err == nil {
			unary[callers] = sm
		}
		return sm, "", err
	})
	if err != nil {
		return err
	}
	err = s.each(ctx, sec, "linearizable", func(c peer.Client, callers int) (sample, string, error) {
		r, ok := c.(peer.LinearizableReader)
		if !ok {
			return inPlace(unary, callers)
		}
		sm, err := s.closedLoop(ctx, callers, func(ctx context.Context, rng *rand.Rand) error {
			_, err := r.ReadLinearizable(ctx, s.data.tenant(rng), s.data.key(rng))
			return err
		})
		return sm, "", err
	})
	if err != nil {
		return err
	}
	err = s.each(ctx, sec, "batches of 100", func(c peer.Client, callers int) (sample, string, error) {
		r, ok := c.(peer.BatchReader)
		if !ok {
			return sample{}, "", errCannot
		}
		sm, err := s.closedLoop(ctx, callers, func(ctx context.Context, rng *rand.Rand) error {
			return r.ReadBatch(ctx, s.data.tenant(rng), s.data.set(rng))
		})
		return sm.times(setSize), "", err
	})
	if err != nil {
		return err
	}
	err = s.each(ctx, sec, "streamed", func(c peer.Client, callers int) (sample, string, error) {
		r, ok := c.(peer.StreamReader)
		if !ok {
			return inPlace(unary, callers)
		}
		sm, err := s.pipelined(ctx, callers, func(ctx context.Context, caller int) (pipe, error) {
			st, err := r.OpenReads(ctx, s.data.tenants[caller%len(s.data.tenants)])
			if err != nil {
				return pipe{}, err
			}
			send := func(rng *rand.Rand) error { return st.Send(s.data.key(rng)) }
			return pipe{send, st.Recv, st.CloseSend}, nil
		})
		return sm, "", err
	})
	if err != nil {
		return err
	}
	return s.rss("after the reads, " + tenancy(len(s.data.tenants)))
}
