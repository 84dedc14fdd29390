package conn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Conn is a limited connection. Its methods for calls accept a nil Conn, for a call
// within the process.
type Conn struct {
	net.Conn
	l    *Limiter
	stop <-chan struct{} // closed when the server stops

	client net.Addr // from a PROXY header, else nil

	// Owned by the goroutine that reads, which also makes the handshake.
	special   bool          // one of the next two is set
	handshake bool          // a TLS handshake is under way
	buffered  *bufio.Reader // has what came after a PROXY header
	computing bool          // in a handshake: it has a slot of l.handshakes
	begun     bool          // it had a slot
	deadline  time.Time     // of the handshake
	calls     calls

	authenticated atomic.Bool
	public        atomic.Int32 // calls without a token
	answered      atomic.Int64 // calls since the last count
	unsent        atomic.Int64 // bytes of messages that wait for the client
	received      atomic.Int64 // when it last received a part of them, in Unix nanoseconds

	// The Limiter's mutex guards these.
	owner string // empty before an authenticated call
	gone  bool   // it is closed

	closing   sync.Once
	mu        sync.Mutex          // guards the fields below
	address   *address            // nil before its turn, after an authenticated call, and without a budget
	receiving map[*time.Time]bool // when the large requests began that are being received
}

// Read adds the check of a field to the check of the connection, except at the
// beginning.
func (c *Conn) Read(p []byte) (int, error) {
	if c.special {
		return c.readSpecial(p)
	}
	return c.Conn.Read(p)
}

// readSpecial counts a handshake as one that computes from the end of this read to the
// beginning of the next, and so never while it waits for the client.
func (c *Conn) readSpecial(p []byte) (n int, err error) {
	c.stopComputing()
	if c.buffered != nil && c.buffered.Buffered() > 0 {
		n, err = c.buffered.Read(p)
	} else {
		c.buffered = nil
		n, err = c.Conn.Read(p)
	}
	if c.handshake && err == nil {
		if err := c.l.handshakes.enter(c.begun, c.deadline, c.stop); err != nil {
			return 0, err
		}
		c.computing, c.begun = true, true
	}
	c.special = c.handshake || c.buffered != nil
	return n, err
}

func (c *Conn) stopComputing() {
	if c.computing {
		c.l.handshakes.leave()
		c.computing = false
	}
}

// RemoteAddr is the client's, as a trusted PROXY header names it.
func (c *Conn) RemoteAddr() net.Addr {
	if c.client != nil {
		return c.client
	}
	return c.Conn.RemoteAddr()
}

// Close closes the connection.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		a := c.takeAddress()
		c.l.closed(c)
		c.l.forget(c)
		if a != nil {
			c.l.leave(a)
		}
	})
	return c.Conn.Close()
}

// Authenticated reports that a call on the connection had a valid token. The connection then
// belongs to the owner, the caller's tenant. The error is for callers: the owner has so many
// connections that it gets no more.
func (c *Conn) Authenticated(owner string) error {
	if c == nil || c.authenticated.Load() {
		return nil
	}
	if err := c.l.own(c, owner); err != nil {
		return err
	}
	c.authenticated.Store(true)
	if a := c.takeAddress(); a != nil {
		c.l.authenticated(a)
	}
	return nil
}

// maxPublicCalls is how many calls without a token a connection has at a time: a client needs one to
// watch the health of the gateway, and one for reflection. A stream stays open until the client ends
// it, as does a call whose request is not whole, and no tenant's limits apply to them.
const maxPublicCalls = 4

var errPublicCalls = status.Errorf(codes.ResourceExhausted, "the connection has %d calls without a token, and may not have more at a time", maxPublicCalls)

// Public counts a call without a token, until leave is called. A call within the process is not
// limited.
func (c *Conn) Public() (leave func(), err error) {
	if c == nil {
		return func() {}, nil
	}
	leave = func() { c.public.Add(-1) }
	if c.public.Add(1) > maxPublicCalls {
		leave()
		c.answered.Add(-1) // its answer does not count: a client that makes very many is read more slowly
		return nil, errPublicCalls
	}
	return leave, nil
}

// takeAddress returns the address to the first caller only.
func (c *Conn) takeAddress() *address {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.address
	c.address = nil
	return a
}

// connInfo is how a call finds its connection.
type connInfo struct {
	credentials.AuthInfo
	conn *Conn
}

// FromContext returns the connection of a call, nil for one within the process.
func FromContext(ctx context.Context) *Conn {
	p, _ := peer.FromContext(ctx)
	if p == nil {
		return nil
	}
	info, _ := p.AuthInfo.(connInfo)
	return info.conn
}

// limitedCredentials admits connections and then secures them.
type limitedCredentials struct {
	credentials.TransportCredentials
	l *Limiter
}

// ServerHandshake is called by gRPC on a goroutine of the connection. A connection
// that is not from a Listener is from within the process and has no limits.
func (s limitedCredentials) ServerHandshake(raw net.Conn) (secured net.Conn, info credentials.AuthInfo, err error) {
	c, ok := raw.(*Conn)
	if !ok {
		return insecure.NewCredentials().ServerHandshake(raw)
	}
	if err := c.begin(); err != nil {
		return nil, nil, err
	}
	s.l.carry(c)
	err = c.secure(s.Info().SecurityProtocol == "tls", func() (err error) {
		secured, info, err = s.TransportCredentials.ServerHandshake(c)
		return err
	})
	if err != nil {
		s.l.forget(c)
		return nil, nil, err
	}
	return pacedConn{secured, c}, connInfo{info, c}, nil
}

// begin reads the PROXY header of a connection, and waits for the budget of the client's address.
// From then on the client has handshakeTimeout for its handshake.
func (c *Conn) begin() error {
	if contains(c.l.cfg.ProxyProtocol, ipOf(c.Conn.RemoteAddr())) {
		if err := c.readProxyHeader(); err != nil {
			return c.refuse(reasonProxyHeader, err)
		}
	}
	a, err := c.l.admit(c.RemoteAddr(), c.stop)
	switch {
	case errors.Is(err, errAddressFull):
		return c.refuse(reasonAddressFull, err)
	case errors.Is(err, errNoTurn):
		return c.refuse(reasonNoTurn, err)
	case err != nil: // the server stops
		return err
	}
	c.mu.Lock()
	c.address = a
	c.mu.Unlock()
	// The server's deadline began when the connection was accepted.
	c.deadline = time.Now().Add(handshakeTimeout)
	return c.SetDeadline(c.deadline)
}

// secure makes the handshake, and counts it while it computes if it is one of TLS.
func (c *Conn) secure(computes bool, handshake func() error) error {
	c.handshake = computes
	c.special = c.handshake || c.buffered != nil
	err := handshake()
	c.stopComputing()
	c.handshake, c.special = false, c.buffered != nil
	if err != nil {
		c.l.metrics.refuse(reasonHandshake, c.RemoteAddr(), err)
	}
	return err
}

// refuse closes the connection.
func (c *Conn) refuse(r reason, err error) error {
	c.l.metrics.refuse(r, c.RemoteAddr(), err)
	c.Close()
	return fmt.Errorf("refuse connection from %s: %w", c.RemoteAddr(), err)
}
