package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// outcome is what became of one call of Write.
type outcome struct {
	entries []*entry
	writes  []Write
	errs    []error
	err     error
}

// outage is the state of a sink that does not answer: its calls fail one after the other.
type outage struct {
	failures int
	err      error     // of the last of them
	since    time.Time // the first of them
	resume   time.Time // no call begins before
}

// rest pauses after something that concerns the whole sink has failed. It returns the end
// of the pause.
func (wr *writer) rest(now time.Time, err error) time.Time {
	o := &wr.outage
	if o.failures++; o.failures == 1 {
		o.since = now
	}
	o.err, o.resume = err, now.Add(pause(o.failures, longPause))
	wr.fail(err)
	return o.resume
}

// takeOutcome takes in the outcome of a call.
//
// One that ended because the writer did says nothing about the sink.
func (wr *writer) takeOutcome(ctx context.Context, o outcome) error {
	now := time.Now()
	wr.slots++
	for _, e := range o.entries {
		wr.touched[e.line] = true
	}
	if o.err != nil {
		for _, e := range o.entries {
			wr.queue.release(e)
		}
		if !errors.Is(o.err, context.Canceled) {
			wr.rest(now, o.err)
		}
		return nil
	}
	wr.outage = outage{}
	for i, e := range o.entries {
		if err := wr.takeResult(ctx, e, o.writes[i], o.errs[i], now); err != nil {
			return err
		}
	}
	return nil
}

func (wr *writer) takeResult(ctx context.Context, e *entry, w Write, failure error, now time.Time) error {
	var refused *RefusedError
	switch {
	case failure == nil:
		wr.p.metrics.wrote(wr.name, now.Sub(e.queued))
		wr.health.count()
		wr.repaired(w, nil)
		wr.superseded(w)
		if err := wr.parked.remove(ctx, wr.parked.slot(w.Tenant, w.Key, w.Revision)); err != nil {
			return err
		}
		wr.queue.done(e, w.Revision)
	case errors.As(failure, &refused):
		wr.repaired(w, failure)
		l := letter{
			Sink: wr.name, Tenant: w.Tenant, Key: w.Key, Revision: w.Revision, Position: w.Position,
			Reason: failure.Error(), Since: now, Attempts: e.tries + 1,
		}
		if refused != nil {
			l.Other = refused.Other
		}
		if !wr.parked.skippedSince(l, e.queued) && !wr.parked.countAttempt(l, now) {
			wr.fail(fmt.Errorf("%s of %s is parked: %w", w.Key, w.Tenant, failure))
			if err := wr.parked.put(ctx, l, now); err != nil {
				return err
			}
		}
		wr.queue.done(e, w.Revision)
	case errors.Is(failure, context.Canceled):
		wr.queue.release(e)
	default:
		failure = fmt.Errorf("%s of %s: %w", w.Key, w.Tenant, failure)
		wr.fail(failure)
		wr.queue.putBack(e, now, failure)
	}
	return nil
}

// repaired records the outcome of a write that replaces drift.
func (wr *writer) repaired(w Write, failure error) {
	if w.Replace != nil {
		wr.drift.acted(w.Tenant, w.Replace.Name, stelev1.Drift_ACTION_REPAIRED, failure)
	}
}

// superseded removes the finding about an item that a write of its key has replaced.
func (wr *writer) superseded(w Write) {
	if wr.store == nil || w.Replace != nil {
		return
	}
	if name, err := wr.store.Name(w.Tenant, w.Key); err == nil {
		wr.drift.gone(w.Tenant, name)
	}
}

// save makes the positions that have moved durable.
func (wr *writer) save(ctx context.Context) error {
	for l := range wr.touched {
		if err := wr.keepPosition(l); err != nil {
			return err
		}
	}
	clear(wr.touched)
	return wr.positions.save(ctx)
}

// keepPosition records how far a line is.
func (wr *writer) keepPosition(l *line) error {
	rev := l.position()
	if rev == wr.positions.get(l.tenant).revision {
		return nil
	}
	v, err := wr.p.cfg.Replica.View(l.tenant, replica.At{})
	if err != nil {
		return fmt.Errorf("read %s: %w", l.tenant, err)
	}
	defer v.Close()
	id, err := v.ID(rev)
	if err != nil {
		return fmt.Errorf("read %s%s: %w", l.tenant, rev, err)
	}
	wr.positions.set(l.tenant, positionOf(rev, id))
	return nil
}

// finish takes in what the last calls have done, when none runs any more, and keeps
// the positions.
func (wr *writer) finish() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for {
		select {
		case o := <-wr.results:
			if err := wr.takeOutcome(ctx, o); err != nil {
				return err
			}
		default:
			return wr.save(ctx)
		}
	}
}
