package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/stelehq/stele/gateway/identity"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ledgerService writes configuration and tells its history.
type ledgerService struct {
	stelev1.UnimplementedLedgerServer
	g *Gateway
}

var errNoLedger = fmt.Errorf("%w: this gateway takes no writes; send them to one that runs the role ledger", ledger.ErrReadOnly)

// changeSet reads a request. Everything that is wrong with its keys and values
// is in the error.
func changeSet(c caller, req *stelev1.CommitRequest) (ledger.ChangeSet, error) {
	cs := ledger.ChangeSet{
		Author:     c.Subject,
		ByOperator: c.visits(c.tenant),
		Message:    req.Message,
		RequestID:  req.RequestId,
		Changes:    make([]ledger.Change, len(req.Changes)),
	}
	var wrong ledger.InvalidError
	note := func(err error, field string, index ...any) {
		if err != nil {
			wrong.Violations = append(wrong.Violations, ledger.Violation{Field: fmt.Sprintf(field, index...), Description: err.Error()})
		}
	}
	const most = 20 // violations, to bound the answer
	for i, ch := range req.Changes {
		if len(wrong.Violations) >= most {
			break
		}
		key, err := ledger.ParseKey(ch.Key)
		note(err, "changes[%d].key", i)
		cs.Changes[i] = ledger.Change{Key: key, Delete: ch.Delete}
		if ch.Value != "" {
			cs.Changes[i].Value, err = ledger.ParseValue(ch.Value)
			note(err, "changes[%d].value", i)
		}
	}
	for i, p := range req.Preconditions {
		if len(wrong.Violations) >= most {
			break
		}
		key, err := ledger.ParseKey(p.Key)
		note(err, "preconditions[%d].key", i)
		cs.Preconditions = append(cs.Preconditions, ledger.Precondition{Key: key, Revision: ledger.Revision(p.Revision)})
	}
	cs.ExpectedHead, cs.AllowInvalid, cs.AllowEmpty = revision(req.ExpectedHead), req.AllowInvalid, req.AllowEmpty
	if in := req.Import; in != nil {
		note(in.Time.CheckValid(), "import.time")
		cs.Author = in.Author
		cs.Import = &ledger.Import{Time: in.Time.AsTime(), Importer: c.Subject}
	}
	if len(wrong.Violations) > 0 {
		return cs, &wrong
	}
	return cs, nil
}

func resultOf(r ledger.Result) *stelev1.CommitResponse {
	resp := &stelev1.CommitResponse{Revision: uint64(r.Revision), RepeatedRequest: r.Repeated, Unchanged: r.Unchanged}
	if r.Revision > 0 { // else nothing was written to a tenant without a commit
		resp.Id, resp.Time = r.ID[:], timestamppb.New(r.Time)
	}
	return resp
}

// Commit applies one change set.
func (s ledgerService) Commit(ctx context.Context, req *stelev1.CommitRequest) (*stelev1.CommitResponse, error) {
	p, err := s.submit(ctx, req, nil)
	if err != nil {
		return nil, err
	}
	result, err := p.Wait(ctx)
	if err != nil {
		return nil, s.g.seen(callerOf(ctx), err)
	}
	return resultOf(result), nil
}

func (s ledgerService) submit(ctx context.Context, req *stelev1.CommitRequest, after *ledger.Pending) (*ledger.Pending, error) {
	l, err := s.g.ledger()
	if err != nil {
		return nil, err
	}
	c := callerOf(ctx)
	cs, err := changeSet(c, req)
	if err != nil {
		return nil, err
	}
	p, err := l.Submit(ctx, c.tenant, cs, after)
	return p, s.g.seen(c, err)
}

// window is how many change sets of a stream may be on their way.
const window = 512

// CommitStream keeps many change sets on their way, so that the ledger can put
// them into few records, and answers them in order.
func (s ledgerService) CommitStream(stream grpc.BidiStreamingServer[stelev1.CommitStreamRequest, stelev1.CommitStreamResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	type item struct {
		pending *ledger.Pending
		err     error
	}
	items := make(chan item, window)
	s.g.running.Go(func() { // ends with the stream, at the latest when this handler returns
		defer close(items)
		var last *ledger.Pending
		for {
			req, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			it := item{err: err}
			if err == nil {
				it.pending, it.err = s.submit(ctx, req.Commit, last)
				last = it.pending
			}
			select {
			case items <- it:
			case <-ctx.Done():
				return
			}
			if it.err != nil {
				return // nothing after the first failure is applied
			}
		}
	})
	for i := 0; ; i++ {
		it, more := <-items
		if !more {
			return ctx.Err()
		}
		result, err := ledger.Result{}, it.err
		if err == nil {
			result, err = it.pending.Wait(ctx)
		}
		if err != nil {
			return indexed(statusOf(s.g.cfg.Log, "/stele.v1.Ledger/CommitStream", s.g.seen(callerOf(ctx), err)), i)
		}
		if err := stream.Send(&stelev1.CommitStreamResponse{Commit: resultOf(result)}); err != nil {
			return err
		}
	}
}

// GetHead returns the newest commit's place.
func (s ledgerService) GetHead(ctx context.Context, req *stelev1.GetHeadRequest) (*stelev1.GetHeadResponse, error) {
	v, err := s.g.view(ctx, replica.At{}, req.MinRevision)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	resp := &stelev1.GetHeadResponse{Snapshot: snapshotOf(v)}
	if head := v.Head(); head.Revision > 0 {
		resp.Id = head.ID[:]
		resp.Time = timestamppb.New(time.Unix(0, head.Time))
	}
	return resp, nil
}

// ListTenants returns the tenants that have a commit, and that this gateway
// serves.
func (s ledgerService) ListTenants(_ context.Context, req *stelev1.ListTenantsRequest) (*stelev1.ListTenantsResponse, error) {
	limit := int(cmp.Or(req.PageSize, defaultPage))
	resp := &stelev1.ListTenantsResponse{}
	for _, h := range s.g.cfg.Replica.Heads(ledger.Tenant(req.PageToken)) {
		if !s.g.serves(h.Tenant) {
			continue
		}
		if len(resp.Tenants) == limit {
			resp.NextPageToken = string(h.Tenant)
			break
		}
		resp.Tenants = append(resp.Tenants, &stelev1.TenantHead{
			Tenant: string(h.Tenant), Head: uint64(h.Head.Revision), Time: timestamppb.New(time.Unix(0, h.Head.Time)),
		})
	}
	return resp, nil
}

// GetStatus tells how this process is.
func (s ledgerService) GetStatus(ctx context.Context, _ *stelev1.GetStatusRequest) (*stelev1.GetStatusResponse, error) {
	g, c := s.g, callerOf(ctx)
	epoch := g.cfg.Replica.Epoch()
	resp := &stelev1.GetStatusResponse{
		Version: g.cfg.Version,
		Roles:   g.cfg.Roles,
		Epoch:   epoch[:],
		Started: timestamppb.New(g.started),
		Principal: &stelev1.Principal{
			Subject: c.Subject,
			Tenant:  string(c.tenant),
			Expires: timestamppb.New(c.Expires),
		},
	}
	for _, r := range c.Roles {
		resp.Principal.Roles = append(resp.Principal.Roles, string(r))
	}
	resp.Principal.Prefixes = scope(c.Prefixes).strings()
	if c.Has(identity.Operator) { // how many neighbours a tenant has is not its business
		resp.Tenants = uint64(g.cfg.Replica.Tenants())
	}
	for i, sh := range g.cfg.Replica.Shards() {
		if sh.Empty {
			continue
		}
		st := &stelev1.ShardStatus{Shard: uint32(i), Position: uint64(sh.Position), LastSequence: uint64(sh.Last)}
		if !sh.Current.IsZero() {
			st.Age = durationpb.New(time.Since(sh.Current))
		}
		resp.Shards = append(resp.Shards, st)
	}
	if c.tenant != "" {
		// A replica that is being built is told of by the shards' ages, and of grants
		// that cannot be read, any other call tells.
		if err := g.tellTenant(ctx, resp); err != nil && !errors.Is(err, ledger.ErrUnavailable) && !errors.Is(err, errDenied) {
			return nil, err
		}
	}
	if err := g.cfg.Replica.Stopped(); err != nil {
		resp.Stopped = err.Error()
	}
	if _, err := g.ledger(); err != nil {
		resp.ReadOnly = err.Error()
	}
	return resp, nil
}

// tellTenant says what the status has of the caller's tenant.
func (g *Gateway) tellTenant(ctx context.Context, resp *stelev1.GetStatusResponse) error {
	c := callerOf(ctx)
	scopes, err := g.scopes(c)
	if err != nil {
		return err
	}
	for i, s := range scopes {
		if len(s) > 0 {
			resp.Principal.Allowed = append(resp.Principal.Allowed, &stelev1.Allowed{Operation: string(operations[i]), Prefixes: s.strings()})
		}
	}
	if resp.Unrouted, resp.UnroutedKeys, err = g.unrouted(c); err != nil || !c.visits(c.tenant) {
		return err
	}
	if g.record(ctx, c.tenant, stelev1.Ledger_GetStatus_FullMethodName, asked{keys: resp.UnroutedKeys}, 0) != nil {
		resp.UnroutedKeys = nil // the rest is told in any case, because it says why nothing can be recorded
	}
	return nil
}

// ledger is the write path, or why writes are refused here.
func (g *Gateway) ledger() (*ledger.Ledger, error) {
	if g.cfg.Ledger == nil {
		return nil, errNoLedger
	}
	if err := g.cfg.Replica.Stopped(); err != nil {
		return nil, fmt.Errorf("%w: %w", ledger.ErrReadOnly, err)
	}
	return g.cfg.Ledger()
}
