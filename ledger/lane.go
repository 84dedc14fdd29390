package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// lane is the one place where a tenant's change sets become commits. It runs
// while something waits for it.
type lane struct {
	ledger  *Ledger
	tenant  Tenant
	waiting []*Pending // guarded by ledger.mu
}

// How long a lane goes on while the journal does not answer, and how long it
// pauses between two tries.
const (
	patience = 10 * time.Second
	pause    = 10 * time.Millisecond
)

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

// commit gets one record into the journal: as many change sets from the front
// of the batch as fit. It answers them, and those that it refuses, and returns
// the rest.
func (ln *lane) commit(batch []*Pending) []*Pending {
	ctx, cancel := context.WithTimeout(ln.ledger.ctx, patience)
	defer cancel()
	for conflicts := 0; ; conflicts++ {
		d, err := ln.draft(ctx, batch)
		if err != nil {
			fail(batch, err)
			return nil
		}
		landed, err := ln.append(ctx, d)
		switch {
		case err != nil:
			fail(batch, err)
			return nil
		case landed:
			ln.ledger.cfg.Observe(len(d.commits), conflicts)
			d.settle()
			return batch[len(d.outcomes):]
		}
	}
}

// append makes the draft's record durable and visible. It answers false when
// another writer came first: the draft is built on a head that is none.
//
// The same bytes on the same condition cannot be written twice. So after a try
// that was not answered, sending them again is how to learn what became of it,
// and until that is known nothing else may be sent in their place.
func (ln *lane) append(ctx context.Context, d *draft) (landed bool, err error) {
	journal, replica := ln.ledger.cfg.Journal, ln.ledger.cfg.Replica
	if len(d.commits) == 0 {
		return ln.confirm(ctx, d)
	}
	maybe := false // an earlier try may have been written
	for {
		seq, err := journal.Append(ctx, ln.tenant, d.head.Sequence, d.record)
		switch {
		case err == nil:
			if err := replica.Apply(seq, d.commits); err != nil {
				return false, fmt.Errorf("%w: %s%s is durable and contradicts this process's replica: %w",
					ErrUnknownOutcome, ln.tenant, d.commits[0].Revision, err)
			}
			return true, nil
		case errors.Is(err, ErrConflict):
			var moved bool
			if moved, err = ln.catchUp(ctx, d.head); moved {
				return d.landed(replica)
			}
			// Not moved: something is still in flight, perhaps this very record.
		case errors.Is(err, ErrUnknownOutcome):
			maybe = true
		case errors.Is(err, ErrReadOnly) && !maybe:
			return false, err
		}
		if sleep(ctx, pause) != nil {
			return false, ln.giveUp(maybe, err)
		}
	}
}

func (ln *lane) giveUp(maybe bool, err error) error {
	kind := ErrUnavailable
	if maybe {
		kind = ErrUnknownOutcome
	}
	if err == nil || errors.Is(err, kind) {
		err = errors.Join(kind, err)
	} else {
		err = fmt.Errorf("%w: %w", kind, err)
	}
	return fmt.Errorf("commit to %s: the journal does not answer: %w", ln.tenant, err)
}

// confirm makes sure that a draft without a commit was checked against the tenant's
// real head, and not against one that another process has moved.
func (ln *lane) confirm(ctx context.Context, d *draft) (bool, error) {
	if !d.checked {
		return true, nil
	}
	for {
		moved, err := ln.catchUp(ctx, d.head)
		if err == nil {
			return !moved, nil
		}
		if sleep(ctx, pause) != nil {
			return false, ln.giveUp(false, err)
		}
	}
}

// catchUp reads on to the tenant's last message, and says whether that is past
// head.
func (ln *lane) catchUp(ctx context.Context, head Head) (moved bool, err error) {
	last, err := ln.ledger.cfg.Journal.LastOf(ctx, ln.tenant)
	if err != nil {
		return false, fmt.Errorf("ask for the last message of %s: %w", ln.tenant, err)
	}
	if last <= head.Sequence {
		return false, nil
	}
	if err := ln.ledger.cfg.Replica.WaitSequence(ctx, ln.tenant, last); err != nil {
		return false, fmt.Errorf("catch up with %s: %w", ln.tenant, err)
	}
	return true, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func fail(batch []*Pending, err error) {
	for _, p := range batch {
		p.err = err
		close(p.done)
	}
}
