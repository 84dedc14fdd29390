package gateway_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/forward"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/replication"
	"github.com/stelehq/stele/internal/gateway/task"
	sinkstatev1 "github.com/stelehq/stele/internal/projector/sinkstate/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// panicking is the server's end of a stream. After the requests it panics as it receives, or else
// as it sends the second message.
type panicking[Req, Res any] struct {
	grpc.ServerStream
	ctx      context.Context
	requests []*Req
	receives bool
	sent     int
}

func (s *panicking[Req, Res]) Context() context.Context { return s.ctx }

func (s *panicking[Req, Res]) Recv() (*Req, error) {
	if len(s.requests) > 0 {
		next := s.requests[0]
		s.requests = s.requests[1:]
		return next, nil
	}
	if s.receives {
		panic("received")
	}
	<-s.ctx.Done() // the handler has returned
	return nil, s.ctx.Err()
}

func (s *panicking[Req, Res]) Send(m *Res) error { return s.SendMsg(m) }

func (s *panicking[Req, Res]) SendMsg(any) error {
	if s.sent++; s.sent == 2 && !s.receives {
		panic("sent")
	}
	return nil
}

// panickingSinks panics if it is asked for a tenant.
type panickingSinks struct{ gateway.Sinks }

func (panickingSinks) Ask(_ context.Context, _ string, order *sinkstatev1.Order) (*sinkstatev1.Reply, error) {
	if order.Tenant != "" {
		panic("asked")
	}
	return nil, errors.New("not asked for a tenant")
}

// upstream is a gateway that an edge forwards writes to.
type upstream struct {
	forward.Upstream
	conn *grpc.ClientConn
}

func (u upstream) Conn() (*grpc.ClientConn, string, error) { return u.conn, "upstream", nil }
func (u upstream) Path() replication.Path                  { return nil }

// A panic in any goroutine of a call is the error of that call. It gives its memory back, and the
// gateway serves on.
func TestCalls_PanicEndsOneCall(t *testing.T) {
	var readLog atomic.Bool
	memory := budget.New(budget.Least)
	f := startRecorded(t, routed(t, oneSink), func(c *gateway.Config) {
		c.Budget = memory
		c.Sinks = func() (gateway.Sinks, error) { return panickingSinks{}, nil }
		open := c.ReadLog
		c.ReadLog = func() (policy.ReadLog, error) {
			if readLog.Swap(false) {
				panic("recorded")
			}
			return open()
		}
	})
	edge, err := gateway.New(gateway.Config{Replica: f.node.Replica, Verifier: f.issuer.Verifier, Reads: true, ForwardWrites: true, Upstream: upstream{conn: f.conn}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(edge.Close)
	large := `"` + strings.Repeat("x", 100_000) + `"`
	f.commit(t, f.as(t, "acme", identity.Writer), set("a/key", large))

	token := f.token(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Writer, identity.Operator}})
	principal, err := f.issuer.Verifier.Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	commits := func(ctx context.Context, g *gateway.Gateway) error {
		return g.CommitStream(&panicking[stelev1.CommitStreamRequest, stelev1.CommitStreamResponse]{ctx: ctx, receives: true,
			requests: []*stelev1.CommitStreamRequest{{Commit: set("a/key", large)}}})
	}
	watch := func(ctx context.Context, receives bool) error {
		return f.gateway.Watch(&panicking[stelev1.WatchRequest, stelev1.WatchResponse]{ctx: ctx, receives: receives,
			requests: []*stelev1.WatchRequest{{Request: &stelev1.WatchRequest_Create{Create: &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}, InitialState: true}}}}})
	}
	for name, call := range map[string]func(context.Context) error{
		"a stream of commits": func(ctx context.Context) error { return commits(ctx, f.gateway) },
		"a forwarded stream":  func(ctx context.Context) error { return commits(ctx, edge) },
		"a watch receives":    func(ctx context.Context) error { return watch(ctx, true) },
		"a watch sends":       func(ctx context.Context) error { return watch(ctx, false) },
		"a replication": func(ctx context.Context) error {
			return f.gateway.Follow(&panicking[stelev1.FollowRequest, stelev1.FollowResponse]{ctx: ctx, receives: true,
				requests: []*stelev1.FollowRequest{{Request: &stelev1.FollowRequest_Start{Start: &stelev1.FollowStart{Tenants: []string{"acme"}}}}}})
		},
		"the commits of all tenants": func(context.Context) error {
			readLog.Store(true)
			_, err := f.ledger.ListAllCommits(f.operator(t), &stelev1.ListAllCommitsRequest{})
			return err
		},
		"the sinks": func(ctx context.Context) error {
			_, err := stelev1.NewSinksClient(f.conn).ListSinks(ctx, &stelev1.ListSinksRequest{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(bearer(t.Context(), token), time.Minute)
			defer cancel()
			ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", "Bearer "+token))
			err := call(policy.WithCaller(ctx, policy.Caller{Principal: principal, Tenant: "acme"}))
			if bug := new(task.PanicError); !errors.As(err, &bug) && status.Code(err) != codes.Internal {
				t.Errorf("the call ends with %v", err)
			}
			until(t, func() bool { return memory.Requests.Total.Used() == 0 && memory.Answers.Used() == 0 })
			if _, err := f.config.Get(bearer(t.Context(), token), &stelev1.GetRequest{Key: "a/key"}); err != nil {
				t.Errorf("the next call: %v", err)
			}
		})
	}
}
