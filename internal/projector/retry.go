package projector

import (
	"context"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

const (
	// retryParked is how long after its last attempt a parked key is tried again: the
	// cause may be gone.
	retryParked = 5 * time.Minute
	// retriedAtOnce is how many parked keys are put back in the queue per second.
	retriedAtOnce = 100
)

// retryOld puts parked keys back in the queue whose last try was long ago.
func (wr *writer) retryOld(now time.Time) {
	for _, l := range wr.parked.due(now.Add(-retryParked), retriedAtOnce) {
		wr.queue.again(wr.queue.line(l.Tenant), l.Key, change{l.Revision, l.Position}, nil)
	}
}

// retry puts parked keys back in their line.
func (wr *writer) retry(t ledger.Tenant, key ledger.Key) (*stelev1.RetryResponse, error) {
	resp := &stelev1.RetryResponse{}
	for _, letter := range wr.parked.of(t, key) {
		if letter.Skipped && key == "" {
			continue
		}
		if wr.queue.again(wr.queue.line(letter.Tenant), letter.Key, change{letter.Revision, letter.Position}, nil) {
			resp.Retried++
		}
	}
	return resp, nil
}

// skip gives parked keys up. A store keeps the dead letter until the key changes, so
// that its item does not count as drift.
func (wr *writer) skip(ctx context.Context, t ledger.Tenant, key ledger.Key) (*stelev1.SkipResponse, error) {
	resp := &stelev1.SkipResponse{}
	for _, letter := range wr.parked.of(t, key) {
		var err error
		if letter.Skipped = true; wr.store != nil {
			err = wr.parked.put(ctx, letter, time.Now())
		} else {
			err = wr.parked.remove(ctx, wr.parked.slot(letter.Tenant, letter.Key, letter.Revision))
		}
		if err != nil {
			return resp, err
		}
		resp.Skipped++
	}
	return resp, nil
}

// replay has the sink written again from a revision on. The reads so far are forgotten;
// running calls continue, and their writes are repeated.
func (wr *writer) replay(ctx context.Context, t ledger.Tenant, from ledger.Revision) (*stelev1.ReplayResponse, error) {
	resp := &stelev1.ReplayResponse{}
	for _, l := range wr.queue.lines {
		if t != "" && l.tenant != t {
			continue
		}
		wr.queue.rewind(l, max(from, 1)-1)
		if l.head > l.read {
			wr.unread[l] = true
		}
		wr.touched[l] = true
		resp.LagRevisions += uint64(l.head - l.position())
	}
	return resp, wr.save(ctx)
}
