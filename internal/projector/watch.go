package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// rewatch is the time between two attempts to watch a store.
const rewatch = 5 * time.Second

// watch compares the items that a store reports as changed, until ctx ends. Sweeps continue
// meanwhile, and find what it misses.
func (sw *sweeper) watch(ctx context.Context, store Watcher) {
	for ctx.Err() == nil {
		err := store.Watch(ctx, func(item Item) error {
			err := sw.changed(ctx, item)
			if err != nil && !errors.Is(err, errNotHeld) && ctx.Err() == nil {
				sw.fail(fmt.Errorf("compare %s after its change: %w", item.Name, err))
			}
			return ctx.Err()
		})
		if err != nil && ctx.Err() == nil {
			sw.fail(fmt.Errorf("watch the store, so that drift waits for a sweep: %w", err))
			sleep(ctx, rewatch)
		}
	}
}

// changed compares an item that has changed, and handles its drift. An item that is as the
// ledger says, like after the sink's own writes, is not read.
func (sw *sweeper) changed(ctx context.Context, item Item) error {
	if sw.p.cfg.Replica.Head(item.Tenant).Revision == 0 {
		return nil // sweeps leave other tenants alone as well
	}
	w, ok, quiet, err := sw.expected(ctx, item.Tenant, item.Key)
	if err != nil || !quiet {
		return err // an item that is being written is compared by the next sweep
	}
	was, err := sw.writtenFor(w, item)
	if err != nil {
		return err
	}
	if item.State != nil && sw.verdict(was, ok, item, true) == stelev1.Drift_KIND_UNSPECIFIED {
		return nil
	}
	_, err = sw.compareAndEnforce(ctx, item.Tenant, item.Name)
	return err
}
