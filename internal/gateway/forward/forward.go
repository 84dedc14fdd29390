// Package forward sends calls that an edge gateway cannot answer to its upstream, in the
// caller's name.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/reason"
	"github.com/stelehq/stele/internal/gateway/replication"
	"github.com/stelehq/stele/internal/gateway/task"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
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

// Forwarder makes calls on an edge's upstream, in the names of their callers.
type Forwarder struct {
	Upstream Upstream
	ID       *stelev1.GatewayID
	Writes   bool // forward writes
	Replica  *replica.Replica
	Log      *slog.Logger
	Running  *sync.WaitGroup // the gateway's streams
}

// Forwards reports whether a call goes to the upstream, with the caller's token. A nil
// forwarder forwards nothing.
func (f *Forwarder) Forwards(m *policy.Method) bool {
	return f != nil && (m.Core || m.Writes && f.Writes)
}

// toUpstream makes calls on the upstream in the caller's name.
func (f *Forwarder) toUpstream(ctx context.Context) context.Context {
	out := metadata.MD{}
	for _, name := range []string{"authorization", policy.TenantHeader} {
		out[name] = metadata.ValueFromIncomingContext(ctx, name)
	}
	return replication.Via(metadata.NewOutgoingContext(ctx, out), f.ID)
}

// Call sends a unary call to the upstream. After a write it answers when this gateway
// has the commit, so that the caller reads what it wrote.
func (f *Forwarder) Call(ctx context.Context, m *policy.Method, req any) (any, error) {
	conn, _, err := f.Upstream.Conn()
	if err != nil {
		return nil, err
	}
	resp, err := newResponse(m.Name)
	if err != nil {
		return nil, err
	}
	if err := conn.Invoke(f.toUpstream(ctx), m.Name, req, resp); err != nil {
		return nil, lost(m, err)
	}
	f.awaitCommit(ctx, resp)
	return resp, nil
}

// lost is the error of a forwarded call. The upstream may have executed a write whose
// answer did not arrive.
func lost(m *policy.Method, err error) error {
	if !m.Writes {
		return err
	}
	if reason.Of(err) != "" {
		return err // the upstream's own answer
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

func (f *Forwarder) awaitCommit(ctx context.Context, resp any) {
	made := policy.CommitOf(resp)
	if made.GetRevision() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, awaitTimeout)
	defer cancel()
	if err := f.Replica.Wait(ctx, policy.CallerOf(ctx).Tenant, ledger.Revision(made.Revision)); err != nil {
		f.Log.Warn("a forwarded write is durable and not readable here yet", "tenant", policy.CallerOf(ctx).Tenant, "revision", made.Revision, "error", err)
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

// CommitStream sends a stream of change sets to the upstream, and its answers back.
func (f *Forwarder) CommitStream(stream grpc.BidiStreamingServer[stelev1.CommitStreamRequest, stelev1.CommitStreamResponse]) error {
	conn, _, err := f.Upstream.Conn()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	up, err := stelev1.NewLedgerClient(conn).CommitStream(f.toUpstream(ctx))
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	f.Running.Go(func() { // ends with the stream, at the latest when this handler returns
		sent <- task.Run(func() error { return sendAll(up, stream) })
		up.CloseSend() // also after a failure: the upstream answers the change sets before it
	})
	for i := 0; ; i++ {
		resp, err := up.Recv()
		if errors.Is(err, io.EOF) {
			select {
			case err = <-sent:
			default: // the upstream has ended the stream
				err = nil
			}
			if err != nil {
				return apierror.Indexed(apierror.StatusOf(f.Log, stelev1.Ledger_CommitStream_FullMethodName, err), i)
			}
			return nil
		}
		if err != nil {
			return lost(policy.Methods[stelev1.Ledger_CommitStream_FullMethodName], err)
		}
		f.awaitCommit(ctx, resp)
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}

// sendAll sends the change sets of a caller to the upstream. Its error is the caller's: the answers
// of the upstream report why it receives no more.
func sendAll(up stelev1.Ledger_CommitStreamClient, stream stelev1.Ledger_CommitStreamServer) error {
	for {
		req, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case up.Send(req) != nil:
			return nil
		}
	}
}
