package conn

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// HTTPListener returns a listener for an HTTP server. Its connections and gRPC connections share
// the limits. They make their TLS handshake with secure, unless it is nil, before Accept returns
// them. Use HTTPContext as the server's ConnContext, and report authenticated requests to the
// connection.
func (l *Limiter) HTTPListener(inner net.Listener, secure *tls.Config) net.Listener {
	ln := &httpListener{
		listener: &listener{Listener: inner, l: l, closed: make(chan struct{})},
		tls:      secure, ready: make(chan accepted),
	}
	ln.closing, ln.cancel = context.WithCancel(context.Background())
	ln.running.Go(ln.run)
	return ln
}

// httpListener does what limitedCredentials do for gRPC, which an HTTP server has no hook for. A
// connection waits for its turn and its client on a goroutine of its own, and delays no other.
type httpListener struct {
	*listener
	tls     *tls.Config
	ready   chan accepted
	closing context.Context // ends when Close begins
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// accepted is what Accept returns.
type accepted struct {
	conn net.Conn
	err  error
}

func (ln *httpListener) run() {
	for {
		c, err := ln.listener.Accept()
		if err != nil {
			if !ln.pass(accepted{err: err}) {
				return
			}
			continue
		}
		ln.running.Go(func() {
			secured, err := ln.begin(c.(*Conn))
			if err != nil || !ln.pass(accepted{conn: secured}) {
				c.Close()
			}
		})
	}
}

// begin returns a connection whose client can send requests.
func (ln *httpListener) begin(c *Conn) (net.Conn, error) {
	stop := context.AfterFunc(ln.closing, func() { c.Close() })
	defer stop()
	if err := c.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil { // of a PROXY header
		return nil, err
	}
	if err := c.begin(); err != nil {
		return nil, err
	}
	var secured net.Conn = c
	handshake := func() error { return nil }
	if ln.tls != nil {
		server := tls.Server(c, ln.tls)
		secured, handshake = server, func() error { return server.HandshakeContext(ln.closing) }
	}
	if err := c.secure(ln.tls != nil, handshake); err != nil {
		return nil, err
	}
	return secured, c.SetDeadline(time.Time{}) // the HTTP server sets its own
}

// pass hands a connection to Accept. It is false if the listener is closed.
func (ln *httpListener) pass(a accepted) bool {
	select {
	case ln.ready <- a:
		return true
	case <-ln.closed:
		return false
	}
}

func (ln *httpListener) Accept() (net.Conn, error) {
	select {
	case a := <-ln.ready:
		return a.conn, a.err
	case <-ln.closed:
		return nil, net.ErrClosed
	}
}

// Close also closes the connections that were not accepted yet.
func (ln *httpListener) Close() error {
	err := ln.listener.Close()
	ln.cancel()
	ln.running.Wait()
	return err
}

type httpKey struct{}

// HTTPContext returns the context for the requests of a connection of an HTTPListener.
func HTTPContext(ctx context.Context, c net.Conn) context.Context {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	return context.WithValue(ctx, httpKey{}, c)
}

// FromHTTP returns the connection of an HTTP request, nil for one that is not limited.
func FromHTTP(ctx context.Context) *Conn {
	c, _ := ctx.Value(httpKey{}).(*Conn)
	return c
}
