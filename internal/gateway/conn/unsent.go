package conn

import (
	"fmt"
	"time"
)

// stalledAfter is how long a client may receive nothing of the messages that wait for it,
// while memory is short.
const stalledAfter = 5 * time.Second

// Hold counts bytes of messages that wait for the client of the connection.
func (c *Conn) Hold(bytes int64) {
	if c != nil && c.unsent.Add(bytes) == bytes { // nothing has waited before
		c.received.Store(time.Now().UnixNano())
	}
}

// Received counts bytes of them that the client has received, or that were discarded. 0
// reports that it has received a part of a message.
func (c *Conn) Received(bytes int64) {
	if c != nil {
		c.unsent.Add(-bytes)
		c.received.Store(time.Now().UnixNano())
	}
}

// Receive notes that a large request begins to be received. Call the returned function when it
// has been, or will not be.
func (c *Conn) Receive() (done func()) {
	if c == nil {
		return func() {}
	}
	begun := new(time.Now())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.receiving == nil {
		c.receiving = make(map[*time.Time]bool)
	}
	c.receiving[begun] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.receiving, begun)
	}
}

// stalled says why the connection holds memory that it does not need; nil if it does not.
func (c *Conn) stalled(now time.Time) error {
	if n := c.unsent.Load(); n > 0 && now.Sub(time.Unix(0, c.received.Load())) > stalledAfter {
		return fmt.Errorf("%d bytes wait for the client", n)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for begun := range c.receiving {
		if since := now.Sub(*begun); since > stalledAfter {
			return fmt.Errorf("a request has not been received for %s", since.Round(time.Second))
		}
	}
	return nil
}

func (l *Limiter) carry(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.carrying[c] = true
}

func (l *Limiter) forget(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.carrying, c)
}

// CloseStalled closes the connections whose clients have received nothing of the messages
// that wait for them for some seconds, or have not sent a large request whole. HTTP/2 has no
// other way to take back a message: if the server ends a call, the messages that were sent on
// it still wait for the client.
func (l *Limiter) CloseStalled() {
	now := time.Now()
	l.mu.Lock()
	stalled := make(map[*Conn]error)
	for c := range l.carrying {
		if why := c.stalled(now); why != nil {
			stalled[c] = why
		}
	}
	l.mu.Unlock()
	for c, why := range stalled {
		l.metrics.stall(c.RemoteAddr(), why)
		c.Close()
	}
}
