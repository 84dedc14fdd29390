package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// lane turns a tenant's change sets into drafts, in the order in which they arrived.
// Lanes of different tenants work side by side, so a change set that takes long to
// check delays its own tenant only. A lane runs while something waits for it, and has
// one draft at a time: what arrives meanwhile goes into the next one.
//
// The first draft of an idle lane is made and passed on by the caller itself, and the
// committer answers the callers, so a commit waits for no goroutine of its lane.
type lane struct {
	ledger  *Ledger
	tenant  Tenant
	waiting []*Pending // guarded by ledger.mu
}

// start makes the first draft of an idle lane, and starts the goroutine that waits for it
// and does the rest. The caller has added that to ledger.running.
func (ln *lane) start() {
	batch := ln.ledger.take(ln)
	d, err := ln.submit(batch)
	go func() {
		defer ln.ledger.running.Done()
		for {
			if batch = ln.await(batch, d, err); len(batch) == 0 {
				batch = ln.ledger.take(ln)
			}
			if len(batch) == 0 {
				return
			}
			d, err = ln.submit(batch)
		}
	}()
}

// submit passes a draft to the committer: as many change sets from the front of the batch
// as fit.
func (ln *lane) submit(batch []*Pending) (*draft, error) {
	ctx, cancel := context.WithTimeout(ln.ledger.ctx, patience)
	defer cancel()
	d, err := ln.draft(ctx, batch)
	if err == nil {
		err = ln.ledger.committer.submit(d)
	}
	return d, err
}

// await waits until the draft is written, and returns the change sets of the batch that
// are not in it. It drafts again if another process has written to the tenant. If that
// fails, the whole batch does.
func (ln *lane) await(batch []*Pending, d *draft, err error) []*Pending {
	for end := time.Now().Add(patience); ; d, err = ln.submit(batch) {
		if err == nil {
			<-d.done
			err = d.err
		}
		switch {
		case err == nil:
			return batch[len(d.outcomes):]
		case errors.Is(err, errStale) && time.Now().Before(end):
			continue
		case errors.Is(err, errStale):
			err = fmt.Errorf("%w: other processes write to the tenant without a pause", ErrUnavailable)
		}
		fail(batch, fmt.Errorf("commit to %s: %w", ln.tenant, err))
		return nil
	}
}

func fail(batch []*Pending, err error) {
	for _, p := range batch {
		p.err = err
		p.answer()
	}
}
