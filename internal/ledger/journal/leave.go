package journal

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pongTimeout is how long the server of the connection may not answer, after an append that was
// not answered, until another one is chosen.
const pongTimeout = time.Second

// strandedAfter is how long the server of the connection may serve no append, or not know where
// the journal ends, until another one is chosen, and again until that one is left. A server that
// is cut off from the others still answers pings, and so does a healthy one while NATS elects a
// leader: to leave that one costs some milliseconds. It is a variable for tests.
var strandedAfter = 3 * time.Second

// isolatedAfter is how long the leader of a stream may not hear from a majority of the stream's
// servers until its answers count no longer. Servers elect another leader at the earliest 4
// seconds after they have heard from this one, which sends a heartbeat every second. So while
// the leader hears from a majority, no other one has written.
const isolatedAfter = 3 * time.Second

// isolated reports whether the answer comes from a leader that may have been replaced, because
// it does not hear from a majority of the stream's servers, itself included. It notices
// that itself only after 10 to 20 seconds; until then it stores no message, but answers
// questions.
func isolated(info *jetstream.StreamInfo) bool {
	if info.Cluster == nil {
		return false
	}
	// A server that a leader has not heard from since it leads has been active for 0.
	since := info.Cluster.LeaderSince
	justElected := since == nil || info.TimeStamp.Sub(*since) < isolatedAfter
	heard := 1
	for _, r := range info.Cluster.Replicas {
		if r.Active < isolatedAfter && (r.Active > 0 || justElected && !r.Offline) {
			heard++
		}
	}
	return heard <= (len(info.Cluster.Replicas)+1)/2
}

// connection is the one to a server. It is made to another server when that one does not serve.
type connection struct {
	nc   *nats.Conn
	log  *slog.Logger
	only bool // the server is embedded, so no other can be chosen

	writes, reads service
	// left is when a server was last left, in nanoseconds of the Unix time.
	left atomic.Int64
}

// leaveIsolated connects to another server if the connection's server is an isolated leader.
func (c *connection) leaveIsolated(leader string) {
	if leader == c.nc.ConnectedServerName() {
		c.leaveUseless("the nats-server leads the journal, and does not hear from the others")
	}
}

// leaveUseless connects to another server, unless one was left within strandedAfter. If no majority
// of the servers runs, every one is left after that time.
func (c *connection) leaveUseless(why string) {
	now, left := time.Now().UnixNano(), c.left.Load()
	if now-left > int64(strandedAfter) && c.left.CompareAndSwap(left, now) {
		c.leave(why)
	}
}

// leaveSilent connects to another server if the connection's server does not answer. A server
// that answers may be healthy while the leader is not.
func (c *connection) leaveSilent(ctx context.Context) {
	if c.only {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pongTimeout)
	defer cancel()
	if err := c.nc.FlushWithContext(ctx); errors.Is(err, context.DeadlineExceeded) {
		c.left.Store(time.Now().UnixNano())
		c.leave("the nats-server does not answer")
	}
}

// answered notes whether a request that began at a time was served, and leaves the server if none
// was for some seconds. of is one of c.writes and c.reads.
func (c *connection) answered(of *service, began time.Time, served bool) {
	switch {
	case served:
		if gap := of.served(); gap > isolatedAfter {
			c.log.Info("the journal's leader answers again", "server", c.nc.ConnectedUrlRedacted(), "after", gap.Round(time.Millisecond))
		}
	case c.only || c.nc.Status() != nats.CONNECTED:
	case of.failed(began) > strandedAfter:
		c.leaveUseless("the nats-server is connected, and has served no request for some seconds")
	}
}

// service is when servers have served requests of one kind.
type service struct {
	mu sync.Mutex
	// last is when a request was served last, and unserved since when none was; zero while
	// requests are served.
	last, unserved time.Time
}

// served notes that a request was served now, and returns how long none was.
func (s *service) served() (gap time.Duration) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.unserved.IsZero() {
		gap = now.Sub(s.unserved)
	}
	s.last, s.unserved = now, time.Time{}
	return gap
}

// failed notes that a request which began at a time was not served, and returns how long none was.
// Requests that began later may have been served in the meantime.
func (s *service) failed(began time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unserved.IsZero() {
		s.unserved = began
		if s.last.After(began) {
			s.unserved = s.last
		}
	}
	return time.Since(s.unserved)
}

// leave connects to another server.
func (c *connection) leave(why string) {
	c.log.Warn(why+": connecting to another one", "server", c.nc.ConnectedUrlRedacted())
	if err := c.nc.ForceReconnect(); err != nil {
		c.log.Warn("connect to another nats-server", "error", err)
	}
}
