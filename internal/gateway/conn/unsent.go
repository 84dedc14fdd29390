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
// that wait for them for some seconds. HTTP/2 has no other way to take back a message: if
// the server ends a call, the messages that were sent on it still wait for the client.
func (l *Limiter) CloseStalled() {
	now := time.Now()
	l.mu.Lock()
	var stalled []*Conn
	for c := range l.carrying {
		if c.unsent.Load() > 0 && now.Sub(time.Unix(0, c.received.Load())) > stalledAfter {
			stalled = append(stalled, c)
		}
	}
	l.mu.Unlock()
	for _, c := range stalled {
		l.metrics.stall(c.RemoteAddr(), fmt.Errorf("%d bytes wait for the client", c.unsent.Load()))
		c.Close()
	}
}
