package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/conn"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/share"
	"github.com/stelehq/stele/internal/gateway/task"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// gRPC receives a request before it calls the interceptors: up to MaxMessage bytes from every
// call, also of callers without a token. So the gateway receives requests itself: it
// authenticates the caller first, reads the length of the request, and waits for as much memory
// before it reads the rest. Until then a call takes at most CallWindow.
//
// gRPC also keeps the parts of a request as they were sent until all have arrived: 900,000 parts of
// one byte took 17 MiB. The gateway copies each part into one buffer of the request's length.

// messageReader is a call as gRPC's transport sees it.
type messageReader interface {
	// ReadMessageHeader fills the buffer, usually with the bytes in front of a message; io.EOF
	// after the last message.
	ReadMessageHeader(buf []byte) error
}

// maxPublic is the longest request of a method that needs no token, in bytes.
const maxPublic = 4 << 10

// receive reads the next request of a call into v. The only request of a call is complete when
// the client has also ended the call: some clients do not expect an answer before. The owner has
// the memory.
func (g interceptor) receive(ctx context.Context, owner string, v any, longest int, only bool) error {
	call, ok := grpc.ServerTransportStreamFromContext(ctx).(messageReader)
	if !ok {
		return fmt.Errorf("the call's transport is a %T", grpc.ServerTransportStreamFromContext(ctx))
	}
	var header [5]byte // whether it is compressed, and its length
	switch err := call.ReadMessageHeader(header[:]); {
	case only && errors.Is(err, io.EOF):
		return status.Error(codes.Internal, "the call has no request")
	case err != nil:
		return received(err)
	}
	length := int64(binary.BigEndian.Uint32(header[1:]))
	switch {
	case header[0] != 0:
		return status.Error(codes.Unimplemented, "the request is compressed, which is not supported")
	case length > int64(longest):
		return status.Errorf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", length, longest)
	}
	if length >= largeRequest {
		requests := g.cfg.Budget.Requests
		if err := requests.AcquireFirst(ctx, owner, length); err != nil {
			return err
		}
		defer requests.Release(owner, length)
		defer conn.FromContext(ctx).Receive()()
	}
	data := make([]byte, length)
	switch err := call.ReadMessageHeader(data); {
	case errors.Is(err, io.EOF):
		return received(io.ErrUnexpectedEOF)
	case err != nil:
		return received(err)
	}
	if err := proto.Unmarshal(data, v.(proto.Message)); err != nil {
		return status.Errorf(codes.Internal, "the request cannot be decoded: %v", err)
	}
	if !only {
		return nil
	}
	switch err := call.ReadMessageHeader(header[:]); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return received(err)
	}
	return status.Error(codes.Internal, "the call has more than one request")
}

// received translates an error of the transport. Others than the end of the requests are those
// of the call's context.
func received(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return status.Error(codes.Internal, "the request ends before its length")
	}
	return err
}

// registrar registers services whose unary methods receive their requests in this way.
type registrar struct {
	grpc.ServiceRegistrar
	calls interceptor
}

// unaryMethod is what a grpc.MethodDesc calls: it decodes the request, and passes it to the
// interceptor.
type unaryMethod = func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error)

// RegisterService is called by the generated functions that register a service.
func (r registrar) RegisterService(desc *grpc.ServiceDesc, impl any) {
	d := *desc
	d.Methods = slices.Clone(d.Methods)
	for i := range d.Methods {
		m := &d.Methods[i]
		m.Handler = r.calls.receiving("/"+d.ServiceName+"/"+m.MethodName, m.Handler)
	}
	r.ServiceRegistrar.RegisterService(&d, impl)
}

// authorizedCall is the context of a unary call whose token was verified.
type authorizedCall struct {
	context.Context
	method *policy.Method
	caller Caller
	begun  time.Time
	memory callMemory // set before the handler is called
}

// authorizedKey is the key of the *authorizedCall itself.
type authorizedKey struct{}

func (a *authorizedCall) Value(key any) any {
	if key == (authorizedKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// receiving authorizes the call before its request is received.
func (g interceptor) receiving(method string, handle unaryMethod) unaryMethod {
	return func(srv any, ctx context.Context, _ func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		begun := time.Now()
		if err := ctx.Err(); err != nil { // reset before it began: it is not worth an answer
			return nil, g.ended(ctx, method, begun, err)
		}
		call, err := g.authorizeCall(ctx, method, begun)
		if err != nil {
			return nil, g.ended(ctx, method, begun, err)
		}
		longest, owner := maxPublic, ""
		if c := call.caller; c.Principal == nil {
			leave, err := conn.FromContext(ctx).Public()
			if err != nil {
				return nil, g.ended(ctx, method, begun, err)
			}
			defer leave()
		} else {
			longest, owner = conn.MaxMessage, c.Owner()
			if !g.calls.Enter(owner, c.Subject) {
				return nil, g.ended(ctx, method, begun, &share.FullError{Subject: c.Subject, Uses: "calls", Slots: g.cfg.Budget.Calls})
			}
			defer g.calls.Leave(owner, c.Subject)
		}
		decode := func(v any) error {
			err := g.receive(ctx, owner, v, longest, true)
			if err != nil {
				err = g.ended(ctx, method, begun, err)
			}
			return err
		}
		return handle(srv, call, decode, interceptor)
	}
}

func (g interceptor) authorizeCall(ctx context.Context, method string, begun time.Time) (_ *authorizedCall, err error) {
	defer task.Catch(&err)
	m, c, err := g.authorize(ctx, method)
	return &authorizedCall{Context: ctx, method: m, caller: c, begun: begun}, err
}

// ended counts a call, and returns its error as callers get it.
func (g interceptor) ended(ctx context.Context, method string, begun time.Time, err error) error {
	if ctx.Err() == nil {
		conn.FromContext(ctx).Answered()
	}
	if err != nil {
		err = apierror.StatusOf(g.cfg.Log, method, err)
	}
	g.metrics.called(method, status.Code(err), time.Since(begun))
	return err
}

// publicStream is a stream of a method that needs no token.
type publicStream struct {
	grpc.ServerStream
	g    interceptor
	only bool // the client sends one request
}

func (s publicStream) RecvMsg(m any) error { return s.g.receive(s.Context(), "", m, maxPublic, s.only) }
