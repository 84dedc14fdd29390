// Package clienttest starts a real ledger with a real gateway, in process, for the
// tests of programs that use package client:
//
//	s := clienttest.Start(t)
//	c, err := client.Open(ctx, s.Config("acme"))
package clienttest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/client"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/porttest"
)

// Server is a ledger and its gateways. Its files are in a folder.
type Server struct {
	nats     *journal.Server
	conn     *nats.Conn
	journal  *journal.Journal
	replica  *replica.Replica
	ledger   *ledger.Ledger
	readLog  func() (policy.ReadLog, error)
	signer   *identity.Signer
	gateways []*running
}

// Start starts a server in a folder of the test's own, whose end closes it.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{}
	tb.Cleanup(s.Close)
	if err := s.open(tb.TempDir(), porttest.Free(tb, 1)[0]); err != nil {
		tb.Fatal(err)
	}
	return s
}

// Open starts a server with one gateway, without a test that owns it.
func Open(dir string) (*Server, error) {
	s := &Server{}
	if err := s.open(dir, "127.0.0.1:0"); err != nil {
		s.Close()
		return nil, fmt.Errorf("start a ledger in %s: %w", dir, err)
	}
	return s, nil
}

func (s *Server) open(dir, listen string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if s.nats, err = journal.StartServer(journal.ServerConfig{Dir: filepath.Join(dir, "journal")}); err != nil {
		return err
	}
	if s.conn, err = s.nats.Connect(); err != nil {
		return err
	}
	if s.journal, err = journal.Open(ctx, s.conn, journal.Config{Embedded: s.nats}); err != nil {
		return err
	}
	if s.replica, err = replica.Open(replica.Config{Path: filepath.Join(dir, "replica.db")}); err != nil {
		return err
	}
	s.readLog = sync.OnceValues(func() (policy.ReadLog, error) { return s.journal.OpenAuxStream(context.Background(), journal.Reads) })
	if err := s.replica.Follow(s.journal); err != nil {
		return err
	}
	for !s.replica.Ready() {
		select {
		case <-ctx.Done():
			return errors.New("the replica does not become ready")
		case <-time.After(time.Millisecond):
		}
	}
	s.ledger = ledger.New(ledger.Config{Journal: s.journal, Replica: s.replica})
	if s.signer, err = identity.OpenSigner(filepath.Join(dir, "identity")); err != nil {
		return err
	}
	_, err = s.StartGateway(listen)
	return err
}

// Close stops the ledger and its gateway.
func (s *Server) Close() {
	for _, g := range s.gateways {
		g.close()
	}
	if s.ledger != nil {
		s.ledger.Close()
	}
	if s.replica != nil {
		s.replica.Close()
	}
	if s.journal != nil {
		s.journal.Close()
	}
	if s.conn != nil {
		s.conn.Close()
	}
	if s.nats != nil {
		s.nats.Close()
	}
}

// Config is the configuration of a client that can read and write the tenant's
// settings.
func (s *Server) Config(tenant string, prefixes ...string) client.Config {
	cfg := client.Config{Tenant: tenant, Prefixes: prefixes, Token: func(context.Context) (string, error) {
		return s.Token(tenant, time.Hour, identity.Writer)
	}}
	for _, g := range s.gateways {
		cfg.Addresses = append(cfg.Addresses, g.address)
	}
	return cfg
}

// Token is good for a while.
func (s *Server) Token(tenant string, ttl time.Duration, roles ...identity.Role) (string, error) {
	return s.signer.Mint(identity.Claims{Subject: "clienttest", Tenant: ledger.Tenant(tenant), Roles: roles, TTL: ttl})
}

// running is one gateway of a server.
type running struct {
	address string
	gateway *gateway.Gateway
	served  chan error
}

// StartGateway starts one more gateway, and returns where it listens.
func (s *Server) StartGateway(listen string) (address string, err error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return "", err
	}
	g := &running{address: l.Addr().String(), served: make(chan error, 1)}
	verifier, err := identity.NewVerifier(identity.Config{Keys: s.signer.Keys(), Issuer: identity.LocalIssuer, Audience: identity.LocalAudience})
	if err == nil {
		g.gateway, err = gateway.New(gateway.Config{
			Replica: s.replica, Verifier: verifier, Reads: true, Roles: []string{"ledger", "gateway"}, Version: "test",
			Ledger:  func() (*ledger.Ledger, error) { return s.ledger, nil },
			ReadLog: s.readLog,
		})
	}
	if err != nil {
		return "", errors.Join(err, l.Close())
	}
	go func() { g.served <- g.gateway.Serve(l) }()
	s.gateways = append(s.gateways, g)
	return g.address, nil
}

// StopGateway stops the gateway at the address, and returns when it has.
func (s *Server) StopGateway(address string) {
	s.gateways = slices.DeleteFunc(s.gateways, func(g *running) bool {
		if g.address == address {
			g.close()
		}
		return g.address == address
	})
}

func (g *running) close() {
	g.gateway.Close()
	<-g.served
}
