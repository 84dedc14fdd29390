package directory

import (
	"context"
	"time"
)

// A version costs the more the more files a tenant has: one change among 10,000 took
// 0.3 s, among ten 10 ms, most of it the disk (ext4, which others wrote to, too). So
// after a write the tenant rests, nine times as long as it took. One that changes all
// the time costs a tenth of a core at most; one that has rested is written at once.
const rest = 9

// pace is when a tenant may be written again.
type pace struct {
	took   time.Duration // by the last write
	rested time.Time
}

// worked begins a rest.
func (p *pace) worked(took time.Duration) {
	p.took, p.rested = took, time.Now().Add(rest*took)
}

// wait returns when the tenant has rested, or when no more is left of the context's
// time than a write needs.
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
