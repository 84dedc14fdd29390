package journal

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

// clock compares this process's clock with the clock of the journal's servers, which they
// report in every answer about the stream. Between two answers it extrapolates their clock
// with the time since boot, which does not change when the clock is set. So a clock
// that jumps is detected at once, and not only at the next answer.
//
// An embedded server has the clock of this process: when it jumps, the answers jump with it.
// They are then ignored until the clock is back. A clock that was wrong when the process
// started is not detected.
type clock struct {
	// now is time.Now, and elapsed host.SinceBoot, except in tests.
	now     func() time.Time
	elapsed func() time.Duration
	// embedded reports that the only server runs in this process.
	embedded bool

	mu sync.Mutex // guards the fields below
	// servers is the servers' clock when elapsed was at; zero before the first answer.
	servers time.Time
	at      time.Duration
	// stamp is the servers' stamp of the newest message.
	stamp time.Time
}

// observe takes the time of an answer, which has just come. It may have taken seconds, so the
// servers' clock is at this time or later.
func (c *clock) observe(info *jetstream.StreamInfo) {
	if info.TimeStamp.IsZero() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stamp = info.State.LastTime
	elapsed := c.elapsed()
	if c.embedded && !c.servers.IsZero() && apart(info.TimeStamp, c.estimate(elapsed)) {
		return
	}
	c.servers, c.at = info.TimeStamp, elapsed
}

// estimate is the servers' clock now. mu is held.
func (c *clock) estimate(elapsed time.Duration) time.Time { return c.servers.Add(elapsed - c.at) }

// read returns the time for a new commit, or a *ledger.ClockError.
func (c *clock) read() (ledger.Clock, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, servers := c.now(), c.estimate(c.elapsed())
	if !apart(now, servers) {
		return ledger.Clock{Now: now, Latest: servers.Add(ledger.ClockBound), Stamp: c.stamp}, nil
	}
	err := &ledger.ClockError{Ahead: now.Sub(servers), Of: "the clocks of the journal's servers", Try: "synchronize the clocks of both"}
	if c.embedded {
		err.Of, err.Try = "the time that has passed since this process started", "synchronize it; if it is right now, restart this process"
	}
	return ledger.Clock{}, err
}

func apart(a, b time.Time) bool { return a.Sub(b).Abs() > ledger.ClockBound }

// Clock is the time for a new commit. The error is a *ledger.ClockError if this process's clock
// is too far from the clocks of the servers.
func (j *Journal) Clock() (ledger.Clock, error) { return j.clock.read() }
