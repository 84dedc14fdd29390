package directory

import (
	"context"
	"time"
)

// The cost of a version grows with the tenant's number of files, and it slows down
// every flush of the file system, including the journal's. So after a version, and
// after a flush, there is a pause of nine times its duration, for all tenants together:
// continuous changes cost a tenth of a core and of the disk, the same again for
// removing the old version, and wait. A change after a pause is written at once. The
// pause for a slow disk is bounded, so that changes do not wait for minutes.
const rest = 9

// The longest rests. After a version it is short, because many tenants may wait for
// theirs.
const (
	longBuildRest = 50 * time.Millisecond
	longFlushRest = 2 * time.Second
)

// pace is when something may be done again.
type pace struct {
	took   time.Duration // the last time
	rested time.Time
}

// worked begins a rest.
func (p *pace) worked(took time.Duration) {
	p.took, p.rested = took, time.Now().Add(rest*took)
}

// wait returns when it has rested, or when no more is left of the context's time than
// is needed.
func (p *pace) wait(ctx context.Context) error {
	until := p.rested
	if deadline, ok := ctx.Deadline(); ok {
		if latest := deadline.Add(-2 * p.took); latest.Before(until) {
			until = latest
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(until)):
		return ctx.Err()
	}
}

// turns are taken one after the other, with a rest after each.
type turns struct {
	turn chan struct{} // has room for one
	pace pace          // of the tenant whose turn it is
	most time.Duration // of a rest
}

func newTurns(most time.Duration) turns { return turns{turn: make(chan struct{}, 1), most: most} }

// take does something when it is its turn and there was a rest.
func (t *turns) take(ctx context.Context, do func() error) error {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-t.turn }()
	if err := t.pace.wait(ctx); err != nil {
		return err
	}
	begun := time.Now()
	err := do()
	t.pace.worked(min(time.Since(begun), t.most/rest))
	return err
}
