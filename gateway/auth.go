package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"github.com/stelehq/stele/gateway/identity"
	"github.com/stelehq/stele/gateway/replication"
	"github.com/stelehq/stele/ledger"
	syncv1 "github.com/stelehq/stele/schemas/flagd/sync/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// right is what a method needs of its caller.
type right int

const (
	public right = iota + 1 // no token: tells nothing of any tenant
	read                    // that operation on some key; which, permit knows
	write
	audit

	// An operator needs no tenant for those from here on.

	see     // to read
	decide  // to administer
	operate // the role operator; tells of all tenants, or of none
	anyone  // any verified token; tells of the process and of the caller
)

// operation is what the right is to. The rest is more than any of them.
func (r right) operation() operation {
	switch r {
	case read, see:
		return toRead
	case write:
		return toWrite
	case audit:
		return toAudit
	}
	return toAdminister
}

// rights of every method. One that is not here is refused, whoever calls.
var rights = map[string]right{
	"/stele.v1.Config/Get":          read,
	"/stele.v1.Config/BatchGet":     read,
	"/stele.v1.Config/List":         read,
	"/stele.v1.Config/Read":         read,
	"/stele.v1.Config/Watch":        read,
	"/stele.v1.Ledger/Commit":       write,
	"/stele.v1.Ledger/CommitStream": write,
	"/stele.v1.Ledger/Plan":         write,
	"/stele.v1.Ledger/GetCommit":    read,
	"/stele.v1.Ledger/ListCommits":  read,
	"/stele.v1.Ledger/GetHead":      read,
	"/stele.v1.Ledger/Diff":         read,
	"/stele.v1.Ledger/Blame":        read,
	"/stele.v1.Ledger/Rollback":     write,
	"/stele.v1.Ledger/Revert":       write,
	"/stele.v1.Ledger/ListReads":    audit,
	"/stele.v1.Ledger/ListTenants":  operate,
	"/stele.v1.Ledger/ShredTenant":  operate,
	"/stele.v1.Ledger/GetStatus":    anyone,
	"/stele.v1.Ledger/CheckAccess":  anyone,

	"/stele.v1.Proof/GetCheckpoint":    read,
	"/stele.v1.Proof/ProveInclusion":   read,
	"/stele.v1.Proof/ProveConsistency": read,

	// Which tenants, the handlers check.
	"/stele.v1.Replication/Follow":     anyone,
	"/stele.v1.Replication/Prove":      anyone,
	"/stele.v1.Replication/RecordRead": anyone,

	"/stele.v1.Schemas/ListSchemas": read,
	"/stele.v1.Schemas/ExplainKey":  read,
	"/stele.v1.Schemas/CheckValue":  read,
	"/stele.v1.Schemas/CheckSchema": read,
	"/stele.v1.Schemas/CheckLive":   read,

	"/stele.v1.Sinks/ListSinks":  see,
	"/stele.v1.Sinks/ListParked": see,
	"/stele.v1.Sinks/ListDrift":  see,
	"/stele.v1.Sinks/Replay":     decide,
	"/stele.v1.Sinks/Retry":      decide,
	"/stele.v1.Sinks/Skip":       decide,
	"/stele.v1.Sinks/CheckDrift": decide,
	"/stele.v1.Sinks/GetRoutes":  operate,

	"/flagd.sync.v1.FlagSyncService/SyncFlags":     read,
	"/flagd.sync.v1.FlagSyncService/FetchAllFlags": read,
	"/flagd.sync.v1.FlagSyncService/GetMetadata":   read,

	"/configuration.ConfigService/healthCheck":     public,
	"/configuration.ConfigService/retrieveConfig":  read,
	"/configuration.ConfigService/retrieveConfigs": read,
	"/configuration.ConfigService/refreshConfig":   read,

	"/grpc.health.v1.Health/Check":                                   public,
	"/grpc.health.v1.Health/Watch":                                   public,
	"/grpc.health.v1.Health/List":                                    public,
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      public,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": public,
}

// tenantHeader is how an operator says for which tenant it acts.
const tenantHeader = "as-tenant"

// caller is who a call comes from and for which tenant.
type caller struct {
	*identity.Principal
	tenant ledger.Tenant
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	return ctx.Value(callerKey{}).(caller)
}

// authorize finds out who calls and whether they may.
func (g *Gateway) authorize(ctx context.Context, method string) (caller, error) {
	need, known := rights[method]
	if !known {
		return caller{}, denied("%s is not open to anybody", method)
	}
	if need == public {
		return caller{}, nil
	}
	header := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(header) != 1 {
		return caller{}, fmt.Errorf("%w: send one \"authorization: Bearer TOKEN\"", identity.ErrUnauthenticated)
	}
	scheme, token, _ := strings.Cut(header[0], " ")
	if !strings.EqualFold(scheme, "bearer") || token == "" {
		return caller{}, fmt.Errorf("%w: send \"authorization: Bearer TOKEN\"", identity.ErrUnauthenticated)
	}
	principal, err := g.cfg.Verifier.Verify(token)
	if err != nil {
		return caller{}, err
	}
	if g.cfg.Upstream != nil {
		if err := replication.CheckVia(ctx, g.cfg.ID); err != nil {
			return caller{}, err
		}
	}
	c := caller{principal, principal.Tenant}
	if as := metadata.ValueFromIncomingContext(ctx, tenantHeader); len(as) > 0 {
		if c.tenant, err = actAs(principal, as); err != nil {
			return caller{}, err
		}
	}
	switch {
	case c.tenant != c.Tenant && !c.Has(identity.Operator) && need != anyone:
		// A token that names tenants to replicate has no roles in them.
		return caller{}, denied("%s may not act for another tenant: that needs the role operator", c.Subject)
	case need == operate && !c.Has(identity.Operator):
		return caller{}, denied("%s needs the role operator; the roles of %s are %s", method, c.Subject, rolesOf(c))
	case c.tenant == "" && need >= see: // only an operator has none
		return c, nil
	case c.tenant == "":
		return caller{}, errNoTenant
	case !g.serves(c.tenant) && !g.fallsBack(method, c.tenant):
		return caller{}, fmt.Errorf("%w: %s; ask another gateway", errNotServed, c.tenant)
	case need == operate, need == anyone:
		return c, nil
	}
	return c, g.may(c, need.operation())
}

var errNoTenant = ledger.Invalid(tenantHeader, "the token is an operator's and names no tenant: say for which one (stele -t TENANT, or the \"as-tenant\" header)")

// visits says whether the caller is an operator in a tenant that is not its own.
// What it does there is recorded, whatever the tenant's policy.
func (c caller) visits(t ledger.Tenant) bool {
	return c.Has(identity.Operator) && t != c.Tenant && t != "" && !t.Reserved()
}

// actAs lets an operator act for any tenant, and everybody for their own.
func actAs(p *identity.Principal, header []string) (ledger.Tenant, error) {
	if len(header) != 1 {
		return "", ledger.Invalid(tenantHeader, "name one tenant")
	}
	t, err := ledger.ParseTenant(header[0])
	if err != nil {
		return "", ledger.Invalid(tenantHeader, err.Error())
	}
	if t != p.Tenant && !p.Has(identity.Operator) && !p.MayReplicate(t) {
		return "", denied("%s may not act for another tenant: that needs the role operator", p.Subject)
	}
	return t, nil
}

func (g *Gateway) unary(ctx context.Context, req any, call *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	begun := time.Now()
	resp, err := g.handle(ctx, req, call.FullMethod, handle)
	if err != nil {
		err = statusOf(g.cfg.Log, call.FullMethod, err)
	}
	g.metrics.called(call.FullMethod, status.Code(err), time.Since(begun))
	return resp, err
}

func (g *Gateway) handle(ctx context.Context, req any, method string, handle grpc.UnaryHandler) (_ any, err error) {
	defer catch(&err)
	c, err := g.authorize(ctx, method)
	if err != nil {
		return nil, err
	}
	if c.Principal != nil {
		if err := g.check(req); err != nil {
			return nil, err
		}
		ctx = context.WithValue(ctx, callerKey{}, c)
		if err := g.admit(ctx, method, req.(proto.Message)); err != nil {
			return nil, err
		}
	}
	if c.Principal != nil && g.forwards(method) {
		return g.forward(ctx, method, req) // recorded there
	}
	resp, err := handle(ctx, req)
	if c.Principal != nil {
		// Here, so that no handler can forget it; an answer that is not recorded
		// where it must be never leaves.
		if lost := g.recordRead(ctx, method, req, resp); lost != nil && !errors.Is(err, ledger.ErrUnknownOutcome) {
			return nil, lost
		}
	}
	return g.counted(c, resp), err
}

// check holds a request against the schema's rules, but for those of the items of
// lists and that of a change, to set or to delete: they are run as expressions,
// which took a third of a batch's time. The handlers check the same.
func (g *Gateway) check(req any) error {
	return g.validate.Validate(req.(proto.Message), protovalidate.WithFilter(rulesOfRequests))
}

var (
	change    = (*stelev1.Change)(nil).ProtoReflect().Descriptor()
	batchKeys = (*stelev1.BatchGetRequest)(nil).ProtoReflect().Descriptor().Fields().ByName("keys")
	readKeys  = (*stelev1.ReadRequest)(nil).ProtoReflect().Descriptor().Fields().ByName("keys")

	rulesOfRequests = protovalidate.FilterFunc(func(_ protoreflect.Message, d protoreflect.Descriptor) bool {
		return d != change && d != batchKeys && d != readKeys
	})
)

// catch keeps a bug in one call from ending the others.
func catch(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic: %v\n%s", p, stack())
	}
}

// stream ends when its handler does, when the caller's token expires, when what
// the caller may do changes, or when the gateway closes. The handler may still be
// blocked on the stream in the last three cases: returning is what unblocks it,
// and Close waits for it.
func (g *Gateway) stream(srv any, ss grpc.ServerStream, call *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	begun := time.Now()
	err := statusOf(g.cfg.Log, call.FullMethod, g.handleStream(srv, ss, call.FullMethod, handle))
	g.metrics.called(call.FullMethod, status.Code(err), time.Since(begun))
	return err
}

func (g *Gateway) handleStream(srv any, ss grpc.ServerStream, method string, handle grpc.StreamHandler) error {
	c, err := g.authorize(ss.Context(), method)
	if err != nil {
		return err
	}
	if c.Principal == nil {
		return handle(srv, ss)
	}
	ctx, cancel := context.WithDeadline(context.WithValue(ss.Context(), callerKey{}, c), c.Expires)
	defer cancel()
	if err := g.spend(ss.Context(), c, nil); err != nil {
		return err
	}
	changed := g.policies.changed()
	begun, err := g.scopes(c)
	if err != nil {
		return err
	}
	if !answersEach[method] && c.visits(c.tenant) {
		if err := g.record(ctx, c.tenant, method, asked{}, 0); err != nil {
			return err
		}
	}
	done := make(chan error, 1)
	g.running.Go(func() {
		var err error
		defer func() { done <- err }()
		defer catch(&err)
		err = handle(srv, &checkedStream{ServerStream: ss, ctx: ctx, g: g, method: method})
	})
	for {
		select {
		case err := <-done:
			return err
		case <-g.closing.Done():
			return fmt.Errorf("%w: the gateway is shutting down; connect again", ledger.ErrUnavailable)
		case <-changed:
			changed = g.policies.changed()
			if err := g.unchanged(c, method, begun); err != nil {
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

// unchanged is nil while the caller may do what it could when its stream began. A
// stream that has lost only a part ends, too: it goes on with what is left when the
// client connects again.
func (g *Gateway) unchanged(c caller, method string, begun []scope) error {
	if rights[method] != anyone { // else the handler checks
		if err := g.may(c, rights[method].operation()); err != nil {
			return err
		}
	}
	now, err := g.scopes(c)
	if err == nil && !slices.EqualFunc(begun, now, slices.Equal[scope]) {
		err = fmt.Errorf("%w: what %s may do in %s has changed; connect again", ledger.ErrUnavailable, c.Subject, c.tenant)
	}
	return err
}

// answersEach are the streams whose handlers admit, and record, each request: those
// that go on after one that is refused, and that of flags, which knows what is asked
// for only with a header.
var answersEach = map[string]bool{
	stelev1.Config_Read_FullMethodName:  true,
	stelev1.Config_Watch_FullMethodName: true,

	syncv1.FlagSyncService_SyncFlags_FullMethodName: true,
}

// checkedStream checks every request that comes in on it.
type checkedStream struct {
	grpc.ServerStream
	ctx    context.Context
	g      *Gateway
	method string
}

func (s *checkedStream) Context() context.Context { return s.ctx }

func (s *checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if err := s.g.check(m); err != nil || answersEach[s.method] {
		return err
	}
	return s.g.admit(s.ctx, s.method, m.(proto.Message))
}

func (s *checkedStream) SendMsg(m any) error {
	return s.ServerStream.SendMsg(s.g.counted(callerOf(s.ctx), m))
}
