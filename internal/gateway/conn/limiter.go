// Package conn limits the cost of a gateway's connections before their tenants, and so the
// tenants' limits, are known.
//
// A Limiter bounds three costs:
//
//   - Connections that have not made an authenticated call. Each address has a budget
//     of them. A connection takes one unit and returns it with its first authenticated
//     call, so clients that reconnect to work are never paced, also if 10,000 of them
//     share the address of a load balancer. Connections that make no such call use the
//     budget up, and the next ones of their address wait until it refills.
//   - TLS handshakes that compute at the same time. The rest of the processors serve
//     the connections that are established.
//   - Calls that clients reset before the answer. A connection that resets too many is
//     read more slowly.
//
// A fixed rate per address, the usual limit, would do the opposite of what is needed:
// it delays a load balancer with 10,000 clients and not 100 addresses that attack.
package conn

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// The limits of a Limiter.
const (
	// MaxConnections are open at a time. An idle connection takes about 50 kB, so all of
	// them 1 GB.
	MaxConnections = 20_000
	// MaxOwned connections of one owner, a tenant, are open at a time, so that its callers
	// cannot take all connections.
	MaxOwned = MaxConnections * 3 / 4
	// budgetSize and budgetPerSecond are an address's budget for connections without an
	// authenticated call. The size also bounds how many clients of one address connect at
	// a time: 10,000 that need two seconds each from the connection to the first call, on
	// a busy machine, are through in 10 s.
	budgetSize, budgetPerSecond = 2000, 100
	// turnTimeout is how long a connection waits for the budget of its address. Clients
	// give up after 20 s.
	turnTimeout = 15 * time.Second
	// handshakeTimeout is how long a connection may take from its turn until it can carry
	// calls.
	handshakeTimeout = 10 * time.Second
	// maxAddresses have a budget of their own; more share one.
	maxAddresses = 1 << 16
)

// Config configures a Limiter. The zero value paces all addresses and trusts no
// PROXY header.
type Config struct {
	// MaxConnections are open at a time; the constant if it is 0. One address can have three
	// quarters of them without an authenticated call, those that wait included.
	MaxConnections int
	// Unpaced turns the budgets of addresses off.
	Unpaced bool
	// Exempt are ranges of addresses without a budget, such as the addresses of load
	// balancers that limit connections themselves.
	Exempt []netip.Prefix
	// ProxyProtocol are the ranges whose connections must begin with a header of the PROXY
	// protocol, version 1 or 2. It names the address of the client, which then counts in
	// the place of the load balancer's, for Exempt also.
	ProxyProtocol []netip.Prefix
}

// Limiter limits the connections of a gateway. It is safe for concurrent use.
type Limiter struct {
	cfg        Config
	handshakes chan struct{} // one element for each handshake that computes
	resets     *rate.Limiter // of all connections that reset too many calls
	metrics    *metrics

	mu        sync.Mutex // guards the rest, and the fields of every address
	open      int        // connections
	owned     map[string]int
	waiting   int // of them, those that wait for the budget of their address
	addresses map[netip.Prefix]*address
	carrying  map[*Conn]bool // connections that may carry calls
	swept     time.Time      // when addresses with a full budget were last removed
}

// New returns a Limiter, which logs warnings about refused and delayed connections.
func New(cfg Config, log *slog.Logger) *Limiter {
	cfg.MaxConnections = cmp.Or(cfg.MaxConnections, MaxConnections)
	return &Limiter{
		cfg: cfg,
		// Half of the processors: established connections have the other half.
		handshakes: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		resets:     rate.NewLimiter(resetsPerSecond, resetsPerSecond),
		metrics:    newMetrics(log),
		owned:      make(map[string]int),
		addresses:  make(map[netip.Prefix]*address),
		carrying:   make(map[*Conn]bool),
	}
}

// Listener returns a listener whose connections are limited. Serve it with the
// options of ServerOptions only.
func (l *Limiter) Listener(inner net.Listener) net.Listener {
	return &listener{Listener: inner, l: l, closed: make(chan struct{})}
}

type listener struct {
	net.Listener
	l      *Limiter
	once   sync.Once
	closed chan struct{}
}

// Close also ends the waits of connections, for which the server would wait.
func (ln *listener) Close() error {
	ln.once.Do(func() { close(ln.closed) })
	return ln.Listener.Close()
}

// Accept closes connections over the maximum. Leaving them in the backlog of the kernel
// would hide the reason from clients and operators.
func (ln *listener) Accept() (net.Conn, error) {
	for {
		c, err := ln.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if tcp, ok := c.(*net.TCPConn); ok {
			// gRPC sets this itself, but not on a connection with something around it.
			if err := setUserTimeout(tcp, answerTimeout); err != nil {
				c.Close() // the client has closed it already
			}
		}
		if ln.l.opened() {
			return &Conn{Conn: c, l: ln.l, stop: ln.closed}, nil
		}
		ln.l.metrics.refuse(reasonMaxConnections, c.RemoteAddr(), fmt.Errorf("%d connections are open", ln.l.cfg.MaxConnections))
		c.Close()
	}
}

func (l *Limiter) opened() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == l.cfg.MaxConnections {
		return false
	}
	l.open++
	return true
}

func (l *Limiter) closed(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	c.gone = true
	if c.owner == "" {
		return
	}
	if l.owned[c.owner]--; l.owned[c.owner] == 0 {
		delete(l.owned, c.owner)
	}
}

// own gives a connection to the owner of its first call with a valid token, unless its callers
// have too many.
func (l *Limiter) own(c *Conn, owner string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.owner != "" || c.gone:
		return true
	case l.owned[owner] >= MaxOwned:
		return false
	}
	c.owner = owner
	l.owned[owner]++
	return true
}
