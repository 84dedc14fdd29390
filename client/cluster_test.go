package client_test

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/client"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
)

// serve starts a gateway for a node, read-only for one without a ledger, and returns its address and how to stop it.
func serve(t *testing.T, n *ledgertest.Node, signer *identity.Signer) (address string, stop func()) {
	t.Helper()
	verifier, err := identity.NewVerifier(identity.Config{Keys: signer.Keys(), Issuer: identity.LocalIssuer, Audience: identity.LocalAudience})
	if err != nil {
		t.Fatal(err)
	}
	cfg := gateway.Config{Replica: n.Replica, Verifier: verifier, Reads: true}
	if n.Ledger != nil {
		cfg.Ledger = func() (*ledger.Ledger, error) { return n.Ledger, nil }
	}
	g, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	stop = sync.OnceFunc(func() {
		g.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

func newSigner(t *testing.T) *identity.Signer {
	t.Helper()
	s, err := identity.OpenSigner(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func minted(s *identity.Signer, tenant ledger.Tenant, ttl time.Duration, roles ...identity.Role) client.TokenSource {
	return func(context.Context) (string, error) {
		return s.Mint(identity.Claims{Subject: "alice", Tenant: tenant, Roles: roles, TTL: ttl})
	}
}

// link is a network between clients and a gateway.
type link struct {
	address string

	mu       sync.Mutex
	to       string
	accepted []time.Time
	conns    map[net.Conn]bool
	dead     bool          // drops all packets without an error
	moved    chan struct{} // closed when dead changes
}

func newLink(t *testing.T, to string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &link{address: l.Addr().String(), to: to, conns: make(map[net.Conn]bool), moved: make(chan struct{})}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			n.mu.Lock()
			to := n.to
			n.mu.Unlock()
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			n.mu.Lock()
			n.accepted = append(n.accepted, time.Now())
			n.conns[in], n.conns[out] = true, true
			n.mu.Unlock()
			running.Go(func() { n.carry(in, out) })
			running.Go(func() { n.carry(out, in) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		n.kill(false)
		n.cut()
		running.Wait()
	})
	return n
}

func (n *link) carry(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		k, err := from.Read(buf)
		n.wait()
		if _, failed := to.Write(buf[:k]); err != nil || failed != nil {
			return
		}
	}
}

func (n *link) wait() {
	for {
		n.mu.Lock()
		dead, moved := n.dead, n.moved
		n.mu.Unlock()
		if !dead {
			return
		}
		<-moved
	}
}

// kill has nothing go through any more, or lets what has waited.
func (n *link) kill(dead bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead = dead
	close(n.moved)
	n.moved = make(chan struct{})
}

// cut breaks all connections.
func (n *link) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		c.Close()
		delete(n.conns, c)
	}
}

// redirect has new connections lead elsewhere.
func (n *link) redirect(to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.to = to
}

// connections are when connections were made.
func (n *link) connections() []time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.accepted)
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came to this: %s", what)
		}
	}
}
