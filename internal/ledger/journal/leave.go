package journal

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// pongTimeout is how long the server of the connection may not answer, after an append that was
// not answered, until another one is chosen.
const pongTimeout = time.Second

// strandedAfter is how long the server of the connection may serve no append, or not know where
// the journal ends, until another one is chosen: longer than NATS takes to elect a leader. A
// server that is cut off from the others still answers pings. It is a variable for tests.
var strandedAfter = 10 * time.Second

// leaveSilent connects to another server if the connection's server does not answer. A server
// that answers may be healthy while the leader is not.
func (j *Journal) leaveSilent(ctx context.Context) {
	if j.embedded != nil { // the only server
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pongTimeout)
	defer cancel()
	if err := j.nc.FlushWithContext(ctx); errors.Is(err, context.DeadlineExceeded) {
		j.leave("the nats-server does not answer")
	}
}

// answered notes whether a request was served, and leaves the server if none was for long. since
// is one of j.writes and j.reads.
func (j *Journal) answered(since *atomic.Int64, served bool) {
	now := time.Now().UnixNano()
	switch {
	case served:
		since.Store(0)
	case j.embedded != nil || j.nc.Status() != nats.CONNECTED || since.CompareAndSwap(0, now):
	default:
		if begun := since.Load(); begun > 0 && now-begun > int64(strandedAfter) && since.CompareAndSwap(begun, now) {
			j.leave("the nats-server is connected, but does not reach the journal's leader")
		}
	}
}

// leave connects to another server.
func (j *Journal) leave(why string) {
	j.log.Warn(why+": connecting to another one", "server", j.nc.ConnectedUrlRedacted())
	if err := j.nc.ForceReconnect(); err != nil {
		j.log.Warn("connect to another nats-server", "error", err)
	}
}
