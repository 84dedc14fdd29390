package conn

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc/tap"
)

// The defense against rapid resets (CVE-2023-44487): opening calls and resetting them costs a
// client far less than the gateway. gRPC bounds the number of handlers that run, not of calls
// that begin. Calls are counted when they begin and when they are answered; parsing the frames of
// a connection for resets took twice as long.
const (
	// allowedUnanswered are calls of a connection that may be open or reset before the
	// connection counts as one that resets too many: MaxStreams, and as many again.
	allowedUnanswered = 2 * MaxStreams
	// allowedUnauthenticated is the same before the first authenticated call.
	allowedUnauthenticated = 128
	// forgivenPerSecond are unanswered calls of each connection that no longer count.
	forgivenPerSecond = 100
	// resetsPerSecond is the rate of calls at which all connections that reset too many are
	// read together.
	resetsPerSecond = 1000
	// countEvery is how many calls of a connection begin between two counts.
	countEvery = 64
	// slowRead is how many bytes of a connection that resets too many are read at a time.
	// gRPC reads 32 KiB, which can be 500 calls with their resets: they would begin
	// together, and keep the processors from the calls of others for milliseconds.
	slowRead = 512
)

// calls counts the calls of a connection. The goroutine that reads the connection owns
// it.
type calls struct {
	opened     int // since counted
	unanswered float64
	counted    time.Time
	slow       bool          // the connection resets too many
	pause      time.Duration // before the next read
}

// pacedConn is a connection as gRPC reads it, above TLS.
type pacedConn struct {
	net.Conn
	c *Conn
}

// Read reads a connection that resets too many calls slowly, and in small parts.
func (p pacedConn) Read(b []byte) (int, error) {
	if p.c.calls.slow {
		p.c.count()
		p.c.waitPause()
		b = b[:min(len(b), slowRead)]
	}
	return p.Conn.Read(b)
}

func (c *Conn) waitPause() {
	if c.calls.pause == 0 {
		return
	}
	select {
	case <-time.After(c.calls.pause):
	case <-c.stop:
	}
	c.calls.pause = 0
}

// tapHandle is called when a call begins, by the goroutine that reads the connection.
// That goroutine holds a lock of the connection's, so tapHandle does not sleep itself:
// the next Read does.
func (l *Limiter) tapHandle(ctx context.Context, _ *tap.Info) (context.Context, error) {
	if c := FromContext(ctx); c != nil {
		if c.calls.opened++; c.calls.opened >= countEvery {
			c.count()
		}
	}
	return ctx, nil
}

// count delays the next read of a connection with too many unanswered calls.
func (c *Conn) count() {
	now := time.Now()
	if c.calls.counted.IsZero() {
		c.calls.counted = now
	}
	forgiven := now.Sub(c.calls.counted).Seconds() * forgivenPerSecond
	c.calls.unanswered = max(0, c.calls.unanswered+float64(c.calls.opened)-float64(c.answered.Swap(0))-forgiven)
	c.calls.opened, c.calls.counted = 0, now
	allowed := float64(allowedUnauthenticated)
	if c.authenticated.Load() {
		allowed = allowedUnanswered
	}
	switch over := c.calls.unanswered - allowed; {
	case over >= 1:
		c.calls.unanswered = allowed
		// A later delay contains the earlier ones.
		c.calls.pause = c.l.resets.ReserveN(now, int(over)).DelayFrom(now)
		c.calls.slow = true
		c.l.metrics.slow(c.RemoteAddr())
	case c.calls.unanswered < allowed/2:
		c.calls.slow = false
	}
}

// Answered reports that a call on the connection ended before its client canceled it.
func (c *Conn) Answered() {
	if c != nil {
		c.answered.Add(1)
	}
}
