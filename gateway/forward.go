package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/stelehq/stele/gateway/policy"
	"github.com/stelehq/stele/gateway/replication"
	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Upstream is the gateway that this one, an edge, replicates from.
type Upstream interface {
	// Conn is a connection that sends no token of its own, and its address.
	Conn() (*grpc.ClientConn, string, error)
	// Path is the gateways from this one up to the one that follows the journal.
	Path() replication.Path
	Status() []*stelev1.UpstreamStatus
	Prove(ctx context.Context, req *stelev1.ProveRequest) (*stelev1.ProveResponse, error)
}

// noWritesError is an edge's answer to a write.
type noWritesError struct{ to string }

func (e *noWritesError) Error() string {
	return fmt.Sprintf("%v: this gateway is an edge; write to its upstream %s, or start it with --forward-writes", ledger.ErrReadOnly, e.to)
}

func (e *noWritesError) Unwrap() error { return ledger.ErrReadOnly }

// forwards reports whether a call goes to the upstream, with the caller's token.
func (g *Gateway) forwards(m *policy.Method) bool {
	return g.cfg.Upstream != nil && (m.Core || m.Writes && g.cfg.ForwardWrites)
}

// toUpstream makes calls on the upstream in the caller's name.
func (g *Gateway) toUpstream(ctx context.Context) context.Context {
	out := metadata.MD{}
	for _, name := range []string{"authorization", tenantHeader} {
		out[name] = metadata.ValueFromIncomingContext(ctx, name)
	}
	return replication.Via(metadata.NewOutgoingContext(ctx, out), g.cfg.ID)
}

// forward sends a unary call to the upstream. After a write it answers when this gateway
// has the commit, so that the caller reads what it wrote.
func (g *Gateway) forward(ctx context.Context, m *policy.Method, req any) (any, error) {
	conn, _, err := g.cfg.Upstream.Conn()
	if err != nil {
		return nil, err
	}
	resp, err := newResponse(m.Name)
	if err != nil {
		return nil, err
	}
	if err := conn.Invoke(g.toUpstream(ctx), m.Name, req, resp); err != nil {
		return nil, lost(m, err)
	}
	g.awaitCommit(ctx, resp)
	return resp, nil
}

// lost is the error of a forwarded call. The upstream may have executed a write whose
// answer did not arrive.
func lost(m *policy.Method, err error) error {
	if !m.Writes {
		return err
	}
	for _, d := range status.Convert(err).Details() {
		if _, ok := d.(*errdetails.ErrorInfo); ok {
			return err // the upstream's own answer
		}
	}
	switch status.Code(err) {
	case codes.DeadlineExceeded:
		return fmt.Errorf("%w: the upstream has not answered: %w", ledger.ErrUnknownOutcome, context.DeadlineExceeded)
	case codes.Unavailable, codes.Canceled, codes.Unknown, codes.Internal:
		return fmt.Errorf("%w: the connection to the upstream failed: %s", ledger.ErrUnknownOutcome, status.Convert(err).Message())
	}
	return err
}

// awaitTimeout bounds how long a forwarded write waits to become readable here. It is
// durable, whether it does or not.
const awaitTimeout = 5 * time.Second

func (g *Gateway) awaitCommit(ctx context.Context, resp any) {
	made := policy.CommitOf(resp)
	if made.GetRevision() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, awaitTimeout)
	defer cancel()
	if err := g.cfg.Replica.Wait(ctx, callerOf(ctx).Tenant, ledger.Revision(made.Revision)); err != nil {
		g.cfg.Log.Warn("a forwarded write is durable and not readable here yet", "tenant", callerOf(ctx).Tenant, "revision", made.Revision, "error", err)
	}
}

// newResponse makes an empty response of the method.
func newResponse(method string) (proto.Message, error) {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service).Append(protoreflect.Name(name)))
	if err != nil {
		return nil, fmt.Errorf("forward %s: %w", method, err)
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.(protoreflect.MethodDescriptor).Output().FullName())
	if err != nil {
		return nil, fmt.Errorf("forward %s: %w", method, err)
	}
	return t.New().Interface(), nil
}

// forwardCommits sends a stream of change sets to the upstream, and its answers back.
func (g *Gateway) forwardCommits(stream grpc.BidiStreamingServer[stelev1.CommitStreamRequest, stelev1.CommitStreamResponse]) error {
	conn, _, err := g.cfg.Upstream.Conn()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	up, err := stelev1.NewLedgerClient(conn).CommitStream(g.toUpstream(ctx))
	if err != nil {
		return err
	}
	g.running.Go(func() { // ends with the stream, at the latest when this handler returns
		for {
			req, err := stream.Recv()
			switch {
			case errors.Is(err, io.EOF):
				up.CloseSend()
				return
			case err != nil:
				cancel()
				return
			case up.Send(req) != nil:
				return // Recv reports why
			}
		}
	})
	for {
		resp, err := up.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return lost(policy.Methods[stelev1.Ledger_CommitStream_FullMethodName], err)
		}
		g.awaitCommit(ctx, resp)
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}
