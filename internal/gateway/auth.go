package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/conn"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/replication"
	"github.com/stelehq/stele/internal/gateway/share"
	"github.com/stelehq/stele/internal/gateway/task"
	"github.com/stelehq/stele/internal/gateway/watch"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Caller is who a call comes from, and which tenant it is for.
type Caller = policy.Caller

// interceptor runs every call: it authenticates the caller, checks its permission and the
// request, reserves memory, records reads, and maps errors to statuses.
type interceptor struct{ *Gateway }

// authorize identifies the caller and checks its permission.
func (g interceptor) authorize(ctx context.Context, method string) (*policy.Method, Caller, error) {
	// gRPC would compress the answer as well, and the compressed bytes have no memory of the share.
	call, ok := grpc.ServerTransportStreamFromContext(ctx).(interface{ RecvCompress() string })
	if ok && call.RecvCompress() != "" && call.RecvCompress() != encoding.Identity {
		return nil, Caller{}, status.Error(codes.Unimplemented, "compressed calls are not supported: send without grpc-encoding")
	}
	m := policy.Methods[method]
	if m == nil {
		return nil, Caller{}, policy.Denied("unknown method %s", method)
	}
	if m.Needs == policy.Public {
		return m, Caller{}, nil
	}
	principal, err := g.verify(ctx)
	if err != nil {
		return nil, Caller{}, err
	}
	// The connection of a revoked token is not known to be a caller's. Any other error is MayCall's.
	if err := g.policy.NotRevoked(principal); errors.Is(err, identity.ErrUnauthenticated) {
		return nil, Caller{}, err
	}
	if err := conn.FromContext(ctx).Authenticated(principal.Owner()); err != nil {
		return nil, Caller{}, status.Error(codes.ResourceExhausted, err.Error())
	}
	if g.cfg.Upstream != nil {
		if err := replication.CheckVia(ctx, g.cfg.ID); err != nil {
			return nil, Caller{}, err
		}
	}
	c := Caller{Principal: principal, Tenant: principal.Tenant}
	if as := metadata.ValueFromIncomingContext(ctx, policy.TenantHeader); len(as) > 0 {
		if c.Tenant, err = actAs(principal, as); err != nil {
			return nil, Caller{}, err
		}
	}
	if c.Tenant != principal.Tenant && !c.Has(identity.Operator) && m.Needs != policy.Authenticated {
		// A token that names tenants to replicate has no roles in them.
		return nil, Caller{}, policy.Denied("%s is not allowed to act for another tenant: this requires the role operator", c.Subject)
	}
	if c.Tenant != "" && !g.serves(c.Tenant) && !g.fallsBack(m, c.Tenant) {
		return nil, Caller{}, fmt.Errorf("%w: %s; ask another gateway", apierror.ErrNotServed, c.Tenant)
	}
	return m, c, g.policy.MayCall(c, m)
}

// verify returns who holds the token of a call.
func (g interceptor) verify(ctx context.Context) (*identity.Principal, error) {
	token, err := identity.Bearer(metadata.ValueFromIncomingContext(ctx, "authorization"))
	if err != nil {
		return nil, err
	}
	return g.cfg.Verifier.Verify(token)
}

// actAs lets an operator act for any tenant, and other callers for their own.
func actAs(p *identity.Principal, header []string) (ledger.Tenant, error) {
	if len(header) != 1 {
		return "", ledger.Invalid(policy.TenantHeader, "name one tenant")
	}
	t, err := ledger.ParseTenant(header[0])
	if err != nil {
		return "", ledger.Invalid(policy.TenantHeader, err.Error())
	}
	if t != p.Tenant && !p.Has(identity.Operator) && !p.MayReplicate(t) {
		return "", policy.Denied("%s is not allowed to act for another tenant: this requires the role operator", p.Subject)
	}
	return t, nil
}

func (g interceptor) unary(ctx context.Context, req any, call *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	authorized := ctx.Value(authorizedKey{}).(*authorizedCall)
	resp, err := g.handle(ctx, authorized, req, handle)
	return resp, g.ended(ctx, call.FullMethod, authorized.begun, err)
}

func (g interceptor) handle(ctx context.Context, call *authorizedCall, req any, handle grpc.UnaryHandler) (_ any, err error) {
	defer task.Catch(&err)
	m, c := call.method, call.caller
	if c.Principal == nil {
		return handle(ctx, req)
	}
	message := req.(proto.Message)
	if err := g.check(message); err != nil {
		return nil, err
	}
	ctx = policy.WithCaller(ctx, c)
	if !m.AdmittedByHandler {
		if err := g.policy.Admit(ctx, c, m, message); err != nil {
			return nil, err
		}
	}
	call.memory = g.noMemory(c)
	defer call.memory.release()
	forwards := g.forwarder.Forwards(m)
	if _, commit := req.(*stelev1.CommitRequest); !commit || forwards { // a change set has its own
		if err := call.memory.grow(ctx, memoryOf(message), false); err != nil {
			return nil, err
		}
	}
	if forwards {
		return g.forwarder.Call(ctx, m, req) // recorded there
	}
	resp, err := handle(ctx, req)
	answer, _ := resp.(proto.Message)
	size := int64(0)
	if answer != nil && err == nil { // it may wait for the record
		size = int64(proto.Size(answer))
		if size >= largeAnswer {
			if err := call.memory.grow(ctx, size, false); err != nil {
				return nil, err
			}
		}
	}
	// Here, so that no handler can forget it; an answer that must be recorded and is not
	// never leaves.
	if lost := g.policy.RecordRead(ctx, c, m, message, answer); lost != nil && !errors.Is(err, ledger.ErrUnknownOutcome) {
		return nil, lost
	}
	if err != nil {
		return nil, err
	}
	return g.counted(ctx, c, answer, size)
}

// check validates a request against the constraints in the schema, except those on the
// items of lists and on a change (to set or to delete): they are run as expressions,
// which took a third of a batch's time. The handlers check the same.
func (g *Gateway) check(req proto.Message) error {
	return g.validate.Validate(req, rulesOfRequests...)
}

var (
	change    = (*stelev1.Change)(nil).ProtoReflect().Descriptor()
	batchKeys = (*stelev1.BatchGetRequest)(nil).ProtoReflect().Descriptor().Fields().ByName("keys")
	readKeys  = (*stelev1.ReadRequest)(nil).ProtoReflect().Descriptor().Fields().ByName("keys")

	// rulesOfRequests is made once, because every call passes it.
	rulesOfRequests = []protovalidate.ValidationOption{
		protovalidate.WithFilter(protovalidate.FilterFunc(func(_ protoreflect.Message, d protoreflect.Descriptor) bool {
			return d != change && d != batchKeys && d != readKeys
		})),
	}
)

// recheckToken is how often a stream's token is verified again. One that was verified before
// costs half a microsecond.
const recheckToken = 2 * time.Second

// stream ends when its handler does, when the caller's token expires, is revoked or loses
// its key, when what the caller may do changes, or when the gateway closes. The handler may still be
// blocked on the stream in all cases but the first: returning is what unblocks it,
// and Close waits for it.
func (g interceptor) stream(srv any, ss grpc.ServerStream, call *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	begun := time.Now()
	return g.ended(ss.Context(), call.FullMethod, begun, g.handleStream(srv, ss, call, handle))
}

func (g interceptor) handleStream(srv any, ss grpc.ServerStream, call *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	changed := g.policy.Changed() // before the caller is checked: a later change is noticed
	m, c, err := g.authorize(ss.Context(), call.FullMethod)
	if err != nil {
		return err
	}
	if c.Principal == nil {
		leave, err := conn.FromContext(ss.Context()).Public()
		if err != nil {
			return err
		}
		defer leave()
		return handle(srv, publicStream{ss, g, !call.IsClientStream})
	}
	leave, ok := g.streams.Take(c.Owner(), c.Subject)
	if !ok {
		return &share.FullError{Subject: c.Subject, Uses: "streams", Slots: g.cfg.Budget.Streams}
	}
	defer leave()
	ctx, cancel := context.WithDeadline(policy.WithCaller(ss.Context(), c), c.Expires)
	defer cancel()
	if err := g.policy.Spend(ss.Context(), c, m, nil); err != nil {
		return err
	}
	begun, err := g.policy.Scopes(c)
	if err != nil {
		return err
	}
	if !m.AdmittedByHandler && c.ActsFor(c.Tenant) {
		if err := g.policy.Record(ctx, c, m, c.Tenant, policy.Asked{}, 0); err != nil {
			return err
		}
	}
	done := task.Go(&g.running, func() error {
		return handle(srv, &checkedStream{ServerStream: ss, ctx: ctx, g: g, method: m, only: !call.IsClientStream})
	})
	recheck := time.NewTicker(recheckToken)
	defer recheck.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-recheck.C:
			// As for a new call: its key may have been removed.
			if _, err := g.verify(ss.Context()); err != nil {
				return err
			}
		case <-g.closing.Done():
			return fmt.Errorf("%w: the gateway is shutting down; connect again", ledger.ErrUnavailable)
		case <-changed:
			changed = g.policy.Changed()
			if err := g.unchanged(c, m, begun); err != nil {
				return err
			}
		case <-ctx.Done():
			if ss.Context().Err() == nil {
				return fmt.Errorf("%w: the token has expired; the stream ends with it", identity.ErrUnauthenticated)
			}
			return <-done
		}
	}
}

// unchanged is nil while the caller has the permissions that it had when its stream
// began. A stream that has lost only a part also ends: it continues with the rest when
// the client reconnects.
func (g interceptor) unchanged(c Caller, m *policy.Method, begun []policy.Scope) error {
	if err := g.policy.MayCall(c, m); err != nil {
		return err
	}
	now, err := g.policy.Scopes(c)
	if err == nil && !slices.EqualFunc(begun, now, slices.Equal[policy.Scope]) {
		err = fmt.Errorf("%w: what %s may do in %s has changed; connect again", ledger.ErrUnavailable, c.Subject, c.Tenant)
	}
	return err
}

// checkedStream checks every request that comes in on it.
type checkedStream struct {
	grpc.ServerStream
	ctx    context.Context
	g      interceptor
	method *policy.Method
	only   bool // the client sends one request
}

func (s *checkedStream) Context() context.Context { return s.ctx }

func (s *checkedStream) RecvMsg(m any) error {
	if err := s.g.receive(s.ServerStream.Context(), policy.CallerOf(s.ctx).Owner(), m, conn.MaxMessage, s.only); err != nil {
		return err
	}
	req := m.(proto.Message)
	if err := s.g.check(req); err != nil || s.method.AdmittedByHandler {
		return err
	}
	return s.g.policy.Admit(s.ctx, policy.CallerOf(s.ctx), s.method, req)
}

func (s *checkedStream) SendMsg(m any) error {
	c := policy.CallerOf(s.ctx)
	if _, shared := m.(watch.Frame); shared { // its body has its memory
		return s.ServerStream.SendMsg(answer{message: m, quota: s.g.policy.QuotaOf(c), client: conn.FromContext(s.ctx)})
	}
	message := m.(proto.Message)
	a, err := s.g.counted(s.ctx, c, message, int64(proto.Size(message)))
	if err != nil {
		return err
	}
	return s.ServerStream.SendMsg(a)
}

// CheckAccess reports whether the caller may do something, and why.
func (s ledgerService) CheckAccess(ctx context.Context, req *stelev1.CheckAccessRequest) (*stelev1.CheckAccessResponse, error) {
	c, op, what := policy.CallerOf(ctx), policy.Operation(req.Operation), req.GetPrefix()
	if by, ok := req.On.(*stelev1.CheckAccessRequest_Key); ok {
		what = by.Key
		if _, err := ledger.ParseKey(what); err != nil {
			return nil, ledger.Invalid("key", err.Error())
		}
	}
	if _, err := ledger.ParsePattern(what); err != nil {
		return nil, ledger.Invalid("prefix", err.Error())
	}
	if c.Tenant == "" {
		return nil, policy.ErrNoTenant
	}
	err := s.g.policy.MayOn(c, op, what)
	if errors.Is(err, policy.ErrDenied) {
		return &stelev1.CheckAccessResponse{Reason: strings.TrimPrefix(err.Error(), policy.ErrDenied.Error()+": ")}, nil
	}
	if err != nil {
		return nil, err
	}
	resp := &stelev1.CheckAccessResponse{Allowed: true}
	resp.Reason, resp.Grant, err = s.g.policy.Explain(c, op, what)
	return resp, err
}
