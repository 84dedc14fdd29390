package ledger

import (
	"errors"
	"fmt"
	"time"
)

// lane turns a tenant's change sets into drafts, in the order in which they arrived.
// Lanes of different tenants work side by side, so a change set that takes long to
// check delays its own tenant only. A lane exists while something waits for it, and has
// one draft at a time: what arrives meanwhile goes into the next one.
//
// The first draft of an idle lane is made and passed on by the caller itself, and the
// committer answers the callers and ends the lane. A goroutine continues it only if more
// change sets wait.
type lane struct {
	ledger  *Ledger
	tenant  Tenant
	waiting []*Pending // guarded by ledger.mu

	// The goroutine that works for the lane owns what follows: the caller, the committer, or
	// one that the lane has started.

	batch []*Pending // taken and not answered
	stale time.Time  // since when other processes have made each draft of the batch stale; zero if they have not
}

// start makes the first draft of an idle lane.
func (ln *lane) start() {
	ln.batch = ln.ledger.take(ln)
	if err := ln.submit(); err != nil {
		go ln.proceed(err)
	}
}

// submit passes a draft to the committer: as many change sets from the front of the batch
// as fit. The lane then belongs to the committer.
func (ln *lane) submit() error {
	d, err := ln.draft(ln.ledger.ctx, ln.batch)
	if err != nil {
		return err
	}
	return ln.ledger.committer.submit(d)
}

// ended is called by the committer once the draft has its outcome.
func (ln *lane) ended(d *draft) {
	if d.err == nil {
		ln.batch, ln.stale = ln.batch[len(d.outcomes):], time.Time{}
		if len(ln.batch) == 0 {
			ln.batch = ln.ledger.take(ln)
		}
		if len(ln.batch) == 0 {
			return
		}
	}
	go ln.proceed(d.err)
}

// proceed makes the next draft of the batch, after one that has failed with err. It drafts
// again if another process has written to the tenant. Otherwise the batch fails, and what
// waits is the next one.
func (ln *lane) proceed(err error) {
	for {
		switch {
		case err == nil:
		case errors.Is(err, errStale) && ln.stale.IsZero():
			ln.stale = time.Now()
		case errors.Is(err, errStale) && time.Since(ln.stale) < journalTimeout:
		default:
			if errors.Is(err, errStale) {
				err = fmt.Errorf("%w: other processes write to the tenant without a pause", ErrUnavailable)
			}
			fail(ln.batch, fmt.Errorf("commit to %s: %w", ln.tenant, err))
			ln.batch, ln.stale = ln.ledger.take(ln), time.Time{}
		}
		if len(ln.batch) == 0 {
			return
		}
		if err = ln.submit(); err == nil {
			return
		}
	}
}

func fail(batch []*Pending, err error) {
	for _, p := range batch {
		p.err = err
		p.answer()
	}
}
