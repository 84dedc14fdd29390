package conn

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/gatewaytest"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// calls counts the calls that a gateway gets.
type calls struct{ atomic.Int32 }

func (c *calls) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	c.Add(1)
	return ctx
}
func (*calls) HandleRPC(context.Context, stats.RPCStats)                         {}
func (*calls) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*calls) HandleConn(context.Context, stats.ConnStats)                       {}

// gateways are a gateway that can be reached and has no data, whose ledger fails, and one
// that works.
type gateways struct {
	*Gateways
	broken *calls
	works  *gatewaytest.Gateway
}

func newGateways(t *testing.T, failure error) *gateways {
	t.Helper()
	g := &gateways{broken: &calls{}, works: gatewaytest.Start(t, nil)}
	broken := gatewaytest.Start(t, func(_ *ledgertest.Node, cfg *gateway.Config) {
		empty, err := replica.Open(replica.Config{Path: t.TempDir() + "/replica.db"}) // it follows no journal
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { empty.Close() })
		if failure == nil {
			cfg.Replica, failure = empty, ledger.ErrUnavailable
		}
		cfg.Verifier, cfg.Stats = g.works.Verifier, g.broken
		cfg.Ledger = func() (*ledger.Ledger, error) { return nil, failure }
	})
	addresses := broken.Dial(t).Target() + ", " + g.works.Dial(t).Target()
	token := g.works.Token(t, identity.Claims{Subject: "ann", Tenant: "acme", Roles: []identity.Role{identity.Admin}})
	var err error
	if g.Gateways, err = Open(addresses, certs.Files{}, func() (string, error) { return token, nil }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func (g *gateways) commit(t *testing.T, id string) error {
	t.Helper()
	_, err := stelev1.NewLedgerClient(g).Commit(t.Context(), &stelev1.CommitRequest{RequestId: id, Changes: []*stelev1.Change{{Key: "a/b", Value: "1"}}})
	return err
}

// head is the revision that the gateway that works has.
func (g *gateways) head() ledger.Revision { return g.works.Node.Replica.Head("acme").Revision }

func TestGateways_ReadIsRepeatedAtTheNext(t *testing.T) {
	g := newGateways(t, nil)
	if _, err := g.works.Node.Ledger.Commit(t.Context(), "acme", ledger.ChangeSet{Author: "ann", Changes: []ledger.Change{{Key: "a/b", Value: "1"}}}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		resp, err := stelev1.NewConfigClient(g).Get(t.Context(), &stelev1.GetRequest{Key: "a/b"})
		if err != nil || resp.Entry.Value != "1" {
			t.Fatalf("read %d: %v, %v", i, resp, err)
		}
	}
	if n := g.broken.Load(); n != 1 {
		t.Errorf("the gateway without data got %d calls", n)
	}
}

// Proofs come from the gateway of the list that keeps the tree. The others are not left for it.
func TestGateways_ProofsOfASigner(t *testing.T) {
	signer := gatewaytest.Start(t, func(n *ledgertest.Node, cfg *gateway.Config) {
		tree, err := proof.OpenTree(proof.Config{Path: t.TempDir() + "/tree.db"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tree.Close() })
		if err := tree.Follow(n.Journal); err != nil {
			t.Fatal(err)
		}
		cfg.Tree = tree
	})
	got := &calls{}
	plain := gatewaytest.Start(t, func(_ *ledgertest.Node, cfg *gateway.Config) { cfg.Verifier, cfg.Stats = signer.Verifier, got })
	token := signer.Token(t, identity.Claims{Subject: "ann", Tenant: "acme", Roles: []identity.Role{identity.Admin}})
	g, err := Open(plain.Dial(t).Target()+","+signer.Dial(t).Target(), certs.Files{}, func() (string, error) { return token, nil })
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for range 2 {
		_, err := stelev1.NewProofClient(g).GetCheckpoint(t.Context(), &stelev1.GetCheckpointRequest{})
		if reason(err) == "NO_TREE" {
			t.Errorf("the gateway with the tree was not asked: %v", err)
		}
	}
	if n := got.Load(); n != 2 {
		t.Errorf("the first gateway got %d calls of 2", n)
	}
}

// silentGateway starts a gateway that answers pings, and a call only when end returns.
func silentGateway(t *testing.T, got *calls, end func(context.Context) error) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.StatsHandler(got), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error { return end(s.Context()) }))
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// never ends a call when its caller does.
func never(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// A gateway that does not answer a read is left while there is time to ask another one,
// whichever of both notices first that the read's time is over.
func TestGateways_SilentGatewayIsLeft(t *testing.T) {
	for name, end := range map[string]func(context.Context) error{
		"CallerNotices":        never,
		"GatewayNotices":       func(context.Context) error { return status.Error(codes.DeadlineExceeded, "too late") },
		"GatewayResetsStreams": func(context.Context) error { return status.Error(codes.Canceled, "too late") },
	} {
		t.Run(name, func(t *testing.T) {
			works, got := gatewaytest.Start(t, nil), &calls{}
			if _, err := works.Node.Ledger.Commit(t.Context(), "acme", ledger.ChangeSet{Author: "ann", Changes: []ledger.Change{{Key: "a/b", Value: "1"}}}); err != nil {
				t.Fatal(err)
			}
			token := works.Token(t, identity.Claims{Subject: "ann", Tenant: "acme", Roles: []identity.Role{identity.Admin}})
			g, err := Open(silentGateway(t, got, end)+","+works.Dial(t).Target(), certs.Files{}, func() (string, error) { return token, nil })
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { g.Close() })
			ctx := WithPolicy(t.Context(), Policy{Timeout: 4 * time.Second, Waiting: func(string) {}})
			for i := range 3 {
				resp, err := stelev1.NewConfigClient(g).Get(ctx, &stelev1.GetRequest{Key: "a/b"})
				if err != nil || resp.Entry.Value != "1" {
					t.Fatalf("read %d: %v, %v", i, resp, err)
				}
			}
			if n := got.Load(); n != 1 {
				t.Errorf("the gateway that does not answer got %d calls", n)
			}
		})
	}
}

// A stream that its caller cancels because it is silent is not opened there again.
func TestGateways_SilentStreamIsLeft(t *testing.T) {
	works, got := gatewaytest.Start(t, nil), &calls{}
	token := works.Token(t, identity.Claims{Subject: "ann", Tenant: "acme", Roles: []identity.Role{identity.Admin}})
	g, err := Open(silentGateway(t, got, never)+","+works.Dial(t).Target(), certs.Files{}, func() (string, error) { return token, nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	for i, want := range []codes.Code{codes.Canceled, codes.OK} {
		ctx, cancel := context.WithCancelCause(t.Context())
		s, err := stelev1.NewConfigClient(g).Watch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}}}})
		if err != nil {
			t.Fatal(err)
		}
		if want == codes.Canceled {
			cancel(status.Error(codes.Unavailable, "silent"))
		}
		if _, err = s.Recv(); status.Code(err) != want {
			t.Errorf("stream %d: %v, want %s", i, err, want)
		}
		cancel(nil)
	}
}

func TestGateways_CommitIsRepeatedIfNothingWasWritten(t *testing.T) {
	g := newGateways(t, nil)
	if err := g.commit(t, "one"); err != nil {
		t.Fatal(err)
	}
	if g.head() != 1 || g.broken.Load() != 1 {
		t.Errorf("the head is %s, the gateway without data got %d calls", g.head(), g.broken.Load())
	}
}

// A commit that may have been written is left to its caller, who repeats it with the same
// request id, at the next gateway.
func TestGateways_CommitWithUnknownOutcome(t *testing.T) {
	g := newGateways(t, fmt.Errorf("append: %w", ledger.ErrUnknownOutcome))
	if err := g.commit(t, "one"); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "outcome unknown") {
		t.Fatalf("the first attempt: %v", err)
	}
	if g.head() != 0 {
		t.Fatal("the call was repeated")
	}
	if err := g.commit(t, "one"); err != nil || g.head() != 1 {
		t.Errorf("the second attempt: %v, head %s", err, g.head())
	}
}

func TestGateways_AllAreUnavailable(t *testing.T) {
	g := newGateways(t, nil)
	g.works.Close()
	done := make(chan error, 1)
	go func() {
		_, err := stelev1.NewConfigClient(g).Get(t.Context(), &stelev1.GetRequest{Key: "a/b"})
		done <- err
	}()
	select {
	case err := <-done:
		if status.Code(err) != codes.Unavailable {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the call does not end")
	}
}

// A method that has an effect is not repeated, unless the answer to a commit says that
// nothing was written. A new method is not repeated before its verb is listed.
func TestRepeatable(t *testing.T) {
	effects := map[string]bool{
		stelev1.Ledger_Commit_FullMethodName: true, stelev1.Ledger_Rollback_FullMethodName: true, stelev1.Ledger_Revert_FullMethodName: true, stelev1.Ledger_Copy_FullMethodName: true,
		stelev1.Ledger_RotateTenantKey_FullMethodName: true, stelev1.Ledger_ShredTenant_FullMethodName: true, stelev1.Ledger_ResetTenantClock_FullMethodName: true, stelev1.Replication_RecordRead_FullMethodName: true,
		stelev1.Sinks_Replay_FullMethodName: true, stelev1.Sinks_Retry_FullMethodName: true, stelev1.Sinks_Skip_FullMethodName: true,
		stelev1.Sinks_CheckDrift_FullMethodName: true, stelev1.Sinks_ResolveDrift_FullMethodName: true,
	}
	lost := status.Error(codes.Unavailable, "the connection is lost")
	for _, file := range []protoreflect.FileDescriptor{
		stelev1.File_stele_v1_config_proto, stelev1.File_stele_v1_ledger_proto, stelev1.File_stele_v1_proof_proto,
		stelev1.File_stele_v1_schemas_proto, stelev1.File_stele_v1_sinks_proto, stelev1.File_stele_v1_replication_proto,
	} {
		for i := range file.Services().Len() {
			s := file.Services().Get(i)
			for n := range s.Methods().Len() {
				m := s.Methods().Get(n)
				if m.IsStreamingClient() || m.IsStreamingServer() {
					continue // streams are not repeated
				}
				name := fmt.Sprintf("/%s/%s", s.FullName(), m.Name())
				if repeatable(name, lost) == effects[name] {
					t.Errorf("%s is repeated: %t", name, !effects[name])
				}
			}
		}
	}
}
