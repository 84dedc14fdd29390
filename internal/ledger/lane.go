package ledger

import (
	"context"
	"errors"
	"fmt"
)

// lane turns a tenant's change sets into drafts, in the order in which they arrived.
// Lanes of different tenants work side by side, so a change set that takes long to
// check delays its own tenant only. A lane runs while something waits for it, and has
// one draft at a time: what arrives meanwhile goes into the next one.
type lane struct {
	ledger  *Ledger
	tenant  Tenant
	waiting []*Pending // guarded by ledger.mu
}

func (ln *lane) run() {
	for {
		batch := ln.ledger.take(ln)
		if len(batch) == 0 {
			return
		}
		for len(batch) > 0 {
			batch = ln.commit(batch)
		}
	}
}

// commit gets one draft written: as many change sets from the front of the batch as
// fit. It answers them, and returns the rest.
func (ln *lane) commit(batch []*Pending) []*Pending {
	ctx, cancel := context.WithTimeout(ln.ledger.ctx, patience)
	defer cancel()
	for {
		d, err := ln.draft(ctx, batch)
		if err == nil {
			err = ln.ledger.committer.write(d)
		}
		switch {
		case err == nil:
			d.settle()
			return batch[len(d.outcomes):]
		case errors.Is(err, errStale) && ctx.Err() == nil:
			continue // another process has written to the tenant
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
		close(p.done)
	}
}
