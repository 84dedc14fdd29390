package directory

import (
	"context"
	"sync"
)

// rounds makes writes of several tenants durable together. A flush of the disk is the
// largest cost of a change, and it blocks the other writers, including the journal:
// with a flush for each of 100 tenants that all change, a ledger on the same disk had a
// fifth of the commits.
type rounds struct {
	flush func(paths []string) error

	turns turns // of those who lead a round

	mu   sync.Mutex // guards the field below
	next *round     // that who comes now takes part in; nil before the first
}

func newRounds(flush func(paths []string) error) *rounds {
	return &rounds{flush: flush, turns: newTurns(longFlushRest)}
}

type round struct {
	paths []string
	done  chan struct{}
	err   error
}

// join returns when the current content below the paths is durable. The first caller
// leads the round: when its context ends, the round fails.
func (r *rounds) join(ctx context.Context, paths ...string) error {
	r.mu.Lock()
	n, leads := r.next, false
	if n == nil {
		n, leads = &round{done: make(chan struct{})}, true
		r.next = n
	}
	n.paths = append(n.paths, paths...)
	r.mu.Unlock()
	if leads {
		r.lead(ctx, n)
	}
	select {
	case <-n.done:
		return n.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *rounds) lead(ctx context.Context, n *round) {
	defer close(n.done)
	over := func() []string { // a later writer may write after the flush has begun
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.next == n {
			r.next = nil
		}
		return n.paths
	}
	n.err = r.turns.take(ctx, func() error { return r.flush(over()) })
	over() // if that was not reached
}
