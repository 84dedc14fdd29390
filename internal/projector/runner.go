package projector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// runner opens one sink for as long as this process holds its lease. It answers the
// requests of other processes to the owner of the sink.
type runner struct {
	*target
	// held is set while this process has the lease, opened while the sink is also open.
	held   atomic.Bool
	opened atomic.Pointer[opened]
}

// opened are the parts that work for an open sink.
type opened struct {
	writer  *writer
	sweeper *sweeper // nil if the sink is not a store
}

// reopen is the time between two attempts to open a sink.
const reopen = 5 * time.Second

// run takes the lease of the sink, again and again, until ctx ends.
func (r *runner) run(ctx context.Context) {
	c := &lease{p: r.p, sink: r.name}
	for ctx.Err() == nil {
		if err := c.hold(ctx, r.work); err != nil && ctx.Err() == nil {
			r.fail(err)
			sleep(ctx, time.Second)
		}
	}
}

// work opens the sink and writes to it. It ends with ctx, or when an auxiliary stream
// cannot be read or written.
func (r *runner) work(ctx context.Context) (err error) {
	served, err := r.serveOrders(ctx)
	if err != nil {
		return err
	}
	defer served()
	r.held.Store(true)
	defer r.held.Store(false)
	if err := r.stop.load(ctx, r.p.bucket, r.name); err != nil {
		return err
	}
	sink, err := r.openSink(ctx)
	if err != nil {
		err = fmt.Errorf("open sink %s: %w", r.name, err)
		r.fail(err)
		r.health.opening(err)
		sleep(ctx, reopen)
		return err
	}
	r.health.opening(nil)
	defer func() { err = errors.Join(err, sink.Close()) }()
	w, err := newWriter(ctx, r.target, sink)
	if err != nil {
		return err
	}
	parts := &opened{writer: w}
	ctx, cancel := context.WithCancel(ctx)
	var sweeping sync.WaitGroup
	defer sweeping.Wait()
	defer cancel()
	if w.store != nil {
		parts.sweeper = &sweeper{builder: w.builder, store: w.store, writer: w, turn: make(chan struct{}, 1)}
		sweeping.Go(func() { parts.sweeper.run(ctx) })
		if store, ok := sink.(Watcher); ok {
			sweeping.Go(func() { parts.sweeper.watch(ctx, store) })
		}
	}
	r.opened.Store(parts)
	defer r.opened.Store(nil)
	r.log.Info("writing to the sink", "kind", r.spec.Kind)
	return w.run(ctx)
}

func (r *runner) openSink(ctx context.Context) (Sink, error) {
	kind, ok := r.p.cfg.Kinds[r.spec.Kind]
	if !ok {
		return nil, fmt.Errorf("unknown kind %q", r.spec.Kind)
	}
	to := r.p.cfg.Destinations
	return kind(ctx, Settings{
		Name: r.name, Epoch: r.p.cfg.Journal.Epoch(), JSON: r.spec.Settings, Dir: r.p.cfg.Dir, Destinations: to, Local: to.Owns(r.spec),
		Keys: r.p.cfg.Keys, PrivateAddresses: r.p.cfg.PrivateAddresses, Log: r.log,
	})
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
