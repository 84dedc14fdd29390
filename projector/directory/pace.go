package directory

import (
	"context"
	"time"
)

// A version costs the more the more files a tenant has, and each flush of the disk
// keeps others from it. So after either there is a rest, nine times as long as it took:
// a tenant that changes all the time costs a tenth of a core at most, and all of them
// together a tenth of the disk. What has rested is done at once.
const rest = 9

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
