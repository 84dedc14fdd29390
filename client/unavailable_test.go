package client_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stelehq/stele/client"
	"github.com/stelehq/stele/client/clienttest"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/gatewaytest"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// methods counts the calls of each method that a gateway gets.
type methods struct {
	mu    sync.Mutex
	calls map[string]int
}

func (m *methods) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls[info.FullMethodName]++
	return ctx
}

func (m *methods) of(method string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[method]
}

func (*methods) HandleRPC(context.Context, stats.RPCStats)                         {}
func (*methods) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*methods) HandleConn(context.Context, stats.ConnStats)                       {}

// A client leaves a gateway that can be reached and answers UNAVAILABLE, and does not
// send a change set to it twice in a row.
func TestClient_UnavailableGatewayIsLeft(t *testing.T) {
	t.Parallel()
	works, got := gatewaytest.Start(t, nil), &methods{calls: make(map[string]int)}
	broken := gatewaytest.Start(t, func(_ *ledgertest.Node, cfg *gateway.Config) {
		empty, err := replica.Open(replica.Config{Path: filepath.Join(t.TempDir(), "replica.db")}) // it follows no journal
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { empty.Close() })
		cfg.Replica, cfg.Verifier, cfg.Stats = empty, works.Verifier, got
		cfg.Ledger = func() (*ledger.Ledger, error) { return nil, ledger.ErrUnavailable }
	})
	good := works.Dial(t).Target()
	cfg := client.Config{
		Addresses: []string{broken.Dial(t).Target(), good}, Tenant: "acme",
		Token: client.StaticToken(works.Token(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Writer}})),
	}
	// Each client chooses at random.
	for i := 0; i < 12 || i < 100 && got.of(stelev1.Ledger_Commit_FullMethodName) == 0; i++ {
		c := open(t, cfg)
		before := got.of(stelev1.Ledger_Commit_FullMethodName)
		set(t, c, "a/b", i)
		if n := got.of(stelev1.Ledger_Commit_FullMethodName) - before; n > 1 {
			t.Errorf("client %d sent a change set %d times to the gateway that answers UNAVAILABLE", i, n)
		}
		eventually(t, "the gateway that works is followed", func() bool { e, _ := c.Get("a/b"); return c.Status().Gateway == good && e.Revision == uint64(i+1) })
	}
	if got.of(stelev1.Ledger_Commit_FullMethodName) == 0 {
		t.Error("no client has tried the gateway that answers UNAVAILABLE")
	}
}

// A client leaves a gateway that is half open: it answers pings, and no call.
func TestClient_SilentGatewayIsLeft(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for a gateway to be silent for up to ten seconds")
	}
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := &methods{calls: make(map[string]int)}
	silent := grpc.NewServer(grpc.StatsHandler(got), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		<-s.Context().Done()
		return s.Context().Err()
	}))
	served := make(chan error, 1)
	go func() { served <- silent.Serve(l) }()
	t.Cleanup(func() {
		silent.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	s := clienttest.Start(t)
	cfg := s.Config("acme")
	good := cfg.Addresses[0]
	cfg.Addresses = []string{l.Addr().String(), good}
	var clients sync.WaitGroup
	for i := range 40 { // each chooses at random: that none asks the silent gateway first happens once in 10^12 runs
		clients.Go(func() {
			c, err := client.Open(t.Context(), cfg)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if _, err := c.Ledger().Set(t.Context(), fmt.Sprintf("a/%d", i), i, ""); err != nil {
				t.Error(err)
			}
			if at := c.Status().Gateway; at != good {
				t.Errorf("client %d follows %s", i, at)
			}
		})
	}
	clients.Wait()
	for _, method := range []string{stelev1.Ledger_GetStatus_FullMethodName, stelev1.Ledger_Commit_FullMethodName} {
		if got.of(method) == 0 {
			t.Errorf("no client has called %s at the silent gateway", method)
		}
	}
}
