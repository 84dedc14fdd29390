package gateway_test

import (
	"context"
	"crypto/tls"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// TestFront_Connect: what is served over other protocols is no way around the checks of
// a call, and needs no certificate where the network does.
func TestFront_Connect(t *testing.T) {
	f := start(t, func(c *gateway.Config) { c.TLS = &tls.Config{} })
	conn, err := f.gateway.Front().Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	config, ledger := stelev1.NewConfigClient(conn), stelev1.NewLedgerClient(conn)
	if _, err := config.List(t.Context(), &stelev1.ListRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a token: %v", err)
	}
	reader := f.as(t, "acme", identity.Reader)
	if _, err := config.List(reader, &stelev1.ListRequest{}); err != nil {
		t.Errorf("with a token: %v", err)
	}
	change := &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "a/b", Value: "1"}}}
	if _, err := ledger.Commit(reader, change); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a reader's write: %v", err)
	}
}

// begun counts the calls that a gateway has begun to answer.
type begun struct{ atomic.Int64 }

func (b *begun) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (b *begun) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (b *begun) HandleConn(context.Context, stats.ConnStats)                       {}
func (b *begun) HandleRPC(_ context.Context, s stats.RPCStats) {
	if _, begins := s.(*stats.Begin); begins {
		b.Add(1)
	}
}

// The callers of servers in front of the gateway share a connection, but not its streams: calls of
// one tenant that take long do not block others.
func TestFront_SlowCallsOfOneTenant(t *testing.T) {
	calls := new(begun)
	f := start(t, func(c *gateway.Config) { c.Stats = calls })
	conn, err := f.gateway.Front().Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	slow, cancel := context.WithCancel(f.as(t, "acme", identity.Reader))
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for range 1100 {
		running.Go(func() { // whose request never comes
			conn.NewStream(slow, &grpc.StreamDesc{ClientStreams: true}, stelev1.Config_Get_FullMethodName)
		})
	}
	until(t, func() bool { return calls.Load() >= 1000 })
	other, cancelOther := context.WithTimeout(f.as(t, "globex", identity.Reader), 20*time.Second)
	defer cancelOther()
	if _, err := stelev1.NewConfigClient(conn).List(other, &stelev1.ListRequest{}); err != nil {
		t.Errorf("another tenant, next to %d calls: %v", calls.Load(), err)
	}
}
