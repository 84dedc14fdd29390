package conn

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"
)

// address is an address that has made connections. The Limiter's mutex guards it.
type address struct {
	unauthenticated int // open connections without an authenticated call, those that wait included

	budget  float64   // as of updated
	updated time.Time // when budget was computed
	waiting []chan struct{}
	timer   *time.Timer // runs while connections wait
}

var (
	errAddressFull = errors.New("the address has three quarters of all connections, without an authenticated call")
	errNoTurn      = errors.New("too many connections of the address made no authenticated call")
)

// maxUnauthenticated connections of one address are open at a time, so that it cannot take all.
func (l *Limiter) maxUnauthenticated() int { return l.cfg.MaxConnections * 3 / 4 }

// sweepInterval is the time between two removals of addresses with a full budget.
const sweepInterval = 10 * time.Second

// admit waits until the budget of the address allows one more connection. It returns
// nil for an address without a budget.
func (l *Limiter) admit(from net.Addr, stop <-chan struct{}) (*address, error) {
	ip := ipOf(from)
	if l.cfg.Unpaced || contains(l.cfg.Exempt, ip) {
		return nil, nil
	}
	l.mu.Lock()
	a := l.address(ip)
	if a.unauthenticated == l.maxUnauthenticated() {
		l.mu.Unlock()
		return nil, errAddressFull
	}
	a.unauthenticated++
	a.refill()
	if a.budget >= 1 && len(a.waiting) == 0 {
		a.budget--
		l.mu.Unlock()
		return a, nil
	}
	turn := make(chan struct{})
	a.waiting = append(a.waiting, turn)
	l.waiting++
	l.schedule(a)
	l.mu.Unlock()

	l.metrics.delay(from)
	timeout := time.NewTimer(turnTimeout)
	defer timeout.Stop()
	err := errNoTurn
	select {
	case <-turn:
		return a, nil
	case <-timeout.C:
	case <-stop:
		err = net.ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(a.waiting, turn)
	if i < 0 {
		return a, nil // its turn came at the last moment
	}
	a.waiting = slices.Delete(a.waiting, i, i+1)
	l.waiting--
	a.unauthenticated--
	return nil, err
}

// leave ends a connection that made no authenticated call. Its part of the budget stays
// used.
func (l *Limiter) leave(a *address) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.unauthenticated--
}

// authenticated returns the connection's part of the budget of its address.
func (l *Limiter) authenticated(a *address) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.unauthenticated--
	a.budget = min(a.budget+1, budgetSize)
	l.turns(a)
}

// turns admits connections of the address while its budget allows.
func (l *Limiter) turns(a *address) {
	a.refill()
	n := min(int(a.budget), len(a.waiting))
	for _, turn := range a.waiting[:n] {
		close(turn)
	}
	a.waiting = slices.Delete(a.waiting, 0, n)
	a.budget -= float64(n)
	l.waiting -= n
	l.schedule(a)
}

// schedule calls turns when the budget allows the next connection.
func (l *Limiter) schedule(a *address) {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	if len(a.waiting) == 0 {
		return
	}
	next := time.Duration((1 - a.budget) / budgetPerSecond * float64(time.Second))
	a.timer = time.AfterFunc(max(next, time.Millisecond), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.turns(a)
	})
}

func (a *address) refill() {
	now := time.Now()
	a.budget = min(a.budget+now.Sub(a.updated).Seconds()*budgetPerSecond, budgetSize)
	a.updated = now
}

// address returns the state of the ip, and creates it if it is new.
func (l *Limiter) address(ip netip.Addr) *address {
	key := subnet(ip)
	if a := l.addresses[key]; a != nil {
		return a
	}
	if now := time.Now(); now.Sub(l.swept) > sweepInterval {
		l.swept = now
		// A new address is like one with a full budget: nothing is lost with it.
		for key, a := range l.addresses {
			if a.refill(); a.unauthenticated == 0 && a.budget == budgetSize {
				delete(l.addresses, key)
			}
		}
	}
	if len(l.addresses) >= maxAddresses {
		key = netip.Prefix{}
		if a := l.addresses[key]; a != nil {
			return a
		}
	}
	a := &address{budget: budgetSize, updated: time.Now()}
	l.addresses[key] = a
	return a
}

// subnet is the range that counts as one address: for IPv6 a /64, the smallest network.
func subnet(ip netip.Addr) netip.Prefix {
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // not an IP address
	}
	return p
}

// ipOf is the zero value for an address that is not of TCP.
func ipOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

func contains(ranges []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(ip) })
}
