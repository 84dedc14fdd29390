package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/task"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ledgerService writes configuration and returns its history.
type ledgerService struct {
	stelev1.UnsafeLedgerServer // so a method that is not implemented does not compile
	allCommits
}

var errNoLedger = fmt.Errorf("%w: this gateway takes no writes; send them to one that runs the role ledger", ledger.ErrReadOnly)

// changeSet reads a request. Everything that is wrong with its keys and values
// is in the error.
func changeSet(c Caller, viewer *policy.Viewer, req *stelev1.CommitRequest) (ledger.ChangeSet, error) {
	cs := ledger.ChangeSet{
		Author:     c.Subject,
		ByOperator: c.ActsFor(c.Tenant),
		Message:    req.Message,
		RequestID:  req.RequestId,
		Viewer:     viewer,
		Changes:    make([]ledger.Change, len(req.Changes)),
	}
	var wrong ledger.InvalidError
	refuse := func(field string, err error) { wrong.Add(field, err.Error()) }
	for i, ch := range req.Changes {
		if len(wrong.Violations) == ledger.MaxViolations {
			break
		}
		key, err := ledger.ParseKey(ch.Key)
		if err != nil {
			refuse(fmt.Sprintf("changes[%d].key", i), err)
		}
		cs.Changes[i] = ledger.Change{Key: key, Delete: ch.Delete}
		if ch.Value == "" {
			continue
		}
		if cs.Changes[i].Value, err = ledger.ParseValue(ch.Value); err != nil {
			refuse(fmt.Sprintf("changes[%d].value", i), err)
		}
	}
	for i, p := range req.Preconditions {
		if len(wrong.Violations) == ledger.MaxViolations {
			break
		}
		key, err := ledger.ParseKey(p.Key)
		if err != nil {
			refuse(fmt.Sprintf("preconditions[%d].key", i), err)
		}
		cs.Preconditions = append(cs.Preconditions, ledger.Precondition{Key: key, Revision: ledger.Revision(p.Revision), ID: p.CommitId})
	}
	cs.ExpectedHead, cs.ExpectedHeadID = revision(req.ExpectedHead), req.ExpectedHeadId
	cs.AllowInvalid, cs.AllowEmpty = req.AllowInvalid, req.AllowEmpty
	if in := req.Import; in != nil {
		if err := in.Time.CheckValid(); err != nil {
			refuse("import.time", err)
		}
		cs.Author = in.Author
		cs.Import = &ledger.Import{Time: in.Time.AsTime(), Importer: c.Subject}
	}
	if from := req.Promotion; from != nil {
		origin, err := ledger.ParsePromotion(from)
		if cs.Origin = origin; err == nil && req.Import != nil {
			err = errors.New("an import is not a promotion: send one of the two")
		}
		if err != nil {
			refuse("promotion", err)
		}
	}
	return cs, wrong.OrNil()
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
	p, err := s.submit(ctx, stelev1.Ledger_Commit_FullMethodName, req, nil)
	if err != nil {
		return nil, err
	}
	return p.wait(ctx)
}

// submitted is a change set without an outcome yet, or one that was rejected at once.
// It has memory until its outcome is known, also if its caller no longer waits for
// that: call wait or abandon.
type submitted struct {
	*ledger.Pending
	g       *Gateway
	held    *callMemory // nil if it was refused
	tenant  ledger.Tenant
	changes []ledger.Change
	viewer  *policy.Viewer
}

// submit hands a change set to the ledger.
func (s ledgerService) submit(ctx context.Context, method string, req *stelev1.CommitRequest, after *ledger.Pending) (submitted, error) {
	l, err := s.g.ledger()
	if err != nil {
		return submitted{}, err
	}
	c := policy.CallerOf(ctx)
	sub := submitted{g: s.g, viewer: s.g.policy.View(c, policy.Methods[method])}
	held := s.g.noMemory(c)
	if err := held.grow(ctx, memoryOf(req), false); err != nil {
		return sub, err
	}
	defer func() {
		if sub.held == nil { // it was refused, or there was a panic
			held.release()
		}
	}()
	cs, err := changeSet(c, sub.viewer, req)
	if err != nil {
		return sub, err
	}
	sub.tenant, sub.changes = c.Tenant, cs.Changes
	if sub.Pending, err = l.Submit(ctx, c.Tenant, cs, after); err != nil {
		return sub, recorded(ctx, sub.viewer, false, err)
	}
	sub.held = &held
	return sub, nil
}

// abandon gives the memory back when the outcome is known.
func (s submitted) abandon() {
	if s.held == nil {
		return
	}
	select {
	case <-s.Done():
		s.held.release()
	default:
		s.g.running.Go(func() { // ends when the ledger has written it, or closes
			<-s.Done()
			s.held.release()
		})
	}
}

// wait returns the outcome, once the reads of its check are recorded.
func (s submitted) wait(ctx context.Context) (*stelev1.CommitResponse, error) {
	defer s.abandon()
	result, err := s.Wait(ctx)
	if result.Unchanged {
		s.viewer.Unchanged(s.tenant, s.changes)
	}
	if err := recorded(ctx, s.viewer, err == nil && !result.Unchanged, err); err != nil {
		return nil, err
	}
	resp := resultOf(result)
	resp.NotChecked = s.viewer.NotChecked()
	return resp, nil
}

// recorded records the reads of the check of a change set, and returns the answer. If
// they cannot be recorded, the outcome stays unknown to the caller, who asks for it
// again with the same request id.
func recorded(ctx context.Context, viewer *policy.Viewer, committed bool, err error) error {
	if errors.Is(err, ledger.ErrUnknownOutcome) || ctx.Err() != nil {
		return err // it says nothing about any value
	}
	lost := viewer.Record(ctx, 0)
	switch {
	case lost == nil:
		return err
	case committed:
		return fmt.Errorf("%w: the values that it was checked against cannot be recorded as read: %w", ledger.ErrUnknownOutcome, lost)
	}
	return lost
}

// window is how many change sets of a stream may be on their way.
const window = 512

// CommitStream keeps many change sets on their way, so that the ledger can put
// them into few records, and answers them in order.
func (s ledgerService) CommitStream(stream grpc.BidiStreamingServer[stelev1.CommitStreamRequest, stelev1.CommitStreamResponse]) error {
	if s.g.cfg.Upstream != nil && s.g.cfg.ForwardWrites {
		return s.g.forwarder.CommitStream(stream)
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	type item struct {
		submitted
		err error
	}
	items := make(chan item, window)
	received := task.Go(&s.g.running, func() error { // ends with the stream, at the latest when this handler returns
		defer func() {
			close(items)
			<-ctx.Done()
			for it := range items { // no caller waits for them
				it.abandon()
			}
		}()
		var last *ledger.Pending
		for {
			req, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			it := item{err: err}
			if err == nil {
				it.submitted, it.err = s.submit(ctx, stelev1.Ledger_CommitStream_FullMethodName, req.Commit, last)
				last = it.Pending
			}
			select {
			case items <- it:
			case <-ctx.Done():
				it.abandon()
				return nil
			}
			if it.err != nil {
				return nil // nothing after the first failure is applied
			}
		}
	})
	failed := func(i int, err error) error {
		return apierror.Indexed(apierror.StatusOf(s.g.cfg.Log, stelev1.Ledger_CommitStream_FullMethodName, err), i)
	}
	for i := 0; ; i++ {
		it, more := <-items
		if !more {
			ended := ctx.Err()
			cancel() // the receiver waits for it
			if err := <-received; err != nil {
				return failed(i, err)
			}
			return ended
		}
		var made *stelev1.CommitResponse
		err := it.err
		if err == nil {
			made, err = it.wait(ctx)
		}
		if err != nil {
			return failed(i, err)
		}
		if err := stream.Send(&stelev1.CommitStreamResponse{Commit: made}); err != nil {
			return err
		}
	}
}

// defaultSpans is the number of spans that commits are counted in if the request names none.
const defaultSpans = 100

// CountCommits returns the newest revision at the end of each of some spans of time.
func (s ledgerService) CountCommits(ctx context.Context, req *stelev1.CountCommitsRequest) (*stelev1.CountCommitsResponse, error) {
	v, err := s.g.views.Open(ctx, replica.At{}, view.Seen{})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	if v.Head().Revision == 0 {
		return &stelev1.CountCommitsResponse{}, nil
	}
	first, err := v.First()
	if err != nil {
		return nil, err
	}
	since, until := first, time.Unix(0, v.Head().Time)
	if req.Since != nil {
		if since, err = view.Time(req.Since, "since"); err != nil {
			return nil, err
		}
	}
	if req.Until != nil {
		if until, err = view.Time(req.Until, "until"); err != nil {
			return nil, err
		}
	}
	if until.Before(since) {
		return nil, ledger.Invalid("until", "it is before since: no commit can be between them")
	}
	n := int(cmp.Or(req.Spans, defaultSpans))
	times := []time.Time{since.Add(-1)}
	for i := range n {
		times = append(times, since.Add(time.Duration(float64(until.Sub(since))*float64(i+1)/float64(n))))
	}
	times[n] = until
	revisions, err := v.RevisionsAt(times)
	if err != nil {
		return nil, err
	}
	resp := &stelev1.CountCommitsResponse{Since: timestamppb.New(since), Until: timestamppb.New(until), First: timestamppb.New(first), Before: uint64(revisions[0])}
	for _, r := range revisions[1:] {
		resp.Revisions = append(resp.Revisions, uint64(r))
	}
	return resp, nil
}

// GetHead returns the newest commit's place.
func (s ledgerService) GetHead(ctx context.Context, req *stelev1.GetHeadRequest) (*stelev1.GetHeadResponse, error) {
	v, err := s.g.views.Open(ctx, replica.At{}, view.SeenBy(req))
	if err != nil {
		return nil, err
	}
	defer v.Close()
	resp := &stelev1.GetHeadResponse{Snapshot: view.SnapshotOf(v)}
	if head := v.Head(); head.Revision > 0 {
		resp.Id = head.ID[:]
		resp.Time = timestamppb.New(time.Unix(0, head.Time))
	}
	resp.HistoryStart, err = historyStart(v)
	return resp, err
}

// ListTenants returns the tenants that have a commit, and that this gateway
// serves.
func (s ledgerService) ListTenants(_ context.Context, req *stelev1.ListTenantsRequest) (*stelev1.ListTenantsResponse, error) {
	limit := int(cmp.Or(req.PageSize, view.DefaultPage))
	resp := &stelev1.ListTenantsResponse{}
	for _, h := range s.g.cfg.Replica.Heads(ledger.Tenant(req.PageToken)) {
		if !s.g.serves(h.Tenant) {
			continue
		}
		if len(resp.Tenants) == limit {
			resp.NextPageToken = string(h.Tenant)
			break
		}
		tenant := &stelev1.TenantHead{Tenant: string(h.Tenant), Head: uint64(h.Head.Revision), Time: timestamppb.New(time.Unix(0, h.Head.Time))}
		tenant.Bases = s.g.basesProto(s.g.cfg.Replica.Bases(h.Tenant))
		resp.Tenants = append(resp.Tenants, tenant)
	}
	return resp, nil
}

// maxAhead is how many tenants whose newest commits are ahead a status lists.
const maxAhead = 20

// GetStatus returns the status of this process.
func (s ledgerService) GetStatus(ctx context.Context, _ *stelev1.GetStatusRequest) (*stelev1.GetStatusResponse, error) {
	g, c := s.g, policy.CallerOf(ctx)
	epoch := g.cfg.Replica.Epoch()
	resp := &stelev1.GetStatusResponse{
		Version: g.cfg.Version,
		Roles:   g.cfg.Roles,
		Epoch:   epoch[:],
		Started: timestamppb.New(g.started),
		Principal: &stelev1.Principal{
			Subject: c.Subject,
			Tenant:  string(c.Tenant),
			Expires: timestamppb.New(c.Expires),
		},
	}
	for _, r := range c.Roles {
		resp.Principal.Roles = append(resp.Principal.Roles, string(r))
	}
	resp.Principal.Prefixes = policy.Scope(c.Prefixes).Strings()
	if c.Has(identity.Operator) { // the number of tenants is for operators only
		resp.Tenants = new(uint64(g.cfg.Replica.Tenants()))
		resp.MemoryUsed, resp.MemoryLimit = memoryUse()
		resp.JournalCopies = g.journalCopies()
		ahead := g.cfg.Replica.Ahead(time.Now().Add(ledger.ClockBound))
		resp.Ahead = uint64(len(ahead))
		for _, t := range ahead[:min(len(ahead), maxAhead)] {
			resp.AheadTenants = append(resp.AheadTenants, string(t))
		}
	}
	resp.Journal = g.journalStatus()
	if g.cfg.Upstream != nil {
		resp.Upstreams = g.cfg.Upstream.Status()
		for _, u := range resp.Upstreams {
			if u.Error != "" && !c.Has(identity.Operator) { // it can name any tenant that is replicated
				u.Error = operatorsSeeWhy
			}
		}
	}
	if c.Tenant != "" {
		// The journal's age shows that the replica is being built, and any other call
		// reports grants that cannot be read.
		if err := s.addTenantStatus(ctx, resp); err != nil && !errors.Is(err, ledger.ErrUnavailable) && !errors.Is(err, policy.ErrDenied) {
			return nil, err
		}
	}
	if err := g.cfg.Replica.Stopped(); err != nil {
		resp.Stopped = whyStopped(c, err)
	}
	if err := g.writable(); err != nil {
		resp.ReadOnly = whyStopped(c, err)
	}
	return resp, nil
}

// whyStopped is the text of an error for a caller. If the process has stopped following the
// journal, operators get the reason as well.
func whyStopped(c Caller, err error) string {
	if c.Has(identity.Operator) {
		return withReason(err)
	}
	return err.Error()
}

// withReason is the text of an error for operators.
func withReason(err error) string {
	var stopped *ledger.StoppedError
	if errors.As(err, &stopped) {
		return strings.Replace(err.Error(), stopped.Error(), stopped.Reason.Error(), 1)
	}
	return err.Error()
}

// addTenantStatus adds the caller's permissions and its tenant's unrouted keys to the status.
func (s ledgerService) addTenantStatus(ctx context.Context, resp *stelev1.GetStatusResponse) error {
	g, c := s.g, policy.CallerOf(ctx)
	scopes, err := g.policy.Scopes(c)
	if err != nil {
		return err
	}
	for i, s := range scopes {
		if len(s) > 0 {
			resp.Principal.Allowed = append(resp.Principal.Allowed, &stelev1.Allowed{Operation: string(policy.Operations[i]), Prefixes: s.Strings()})
		}
	}
	if resp.Unrouted, resp.UnroutedKeys, err = s.unrouted(c); err != nil || !c.ActsFor(c.Tenant) {
		return err
	}
	if g.policy.Record(ctx, c, policy.Methods[stelev1.Ledger_GetStatus_FullMethodName], c.Tenant, policy.Asked{Keys: resp.UnroutedKeys}, 0) != nil {
		resp.UnroutedKeys = nil // the rest is always returned, because it shows why nothing can be recorded
	}
	return nil
}

// ledger is the write path, or why writes are refused here.
func (g *Gateway) ledger() (*ledger.Ledger, error) {
	if g.cfg.Ledger == nil {
		if g.cfg.Upstream == nil {
			return nil, errNoLedger
		}
		_, address, _ := g.cfg.Upstream.Conn() // the address is known whether it can be reached or not
		return nil, &apierror.NoWritesError{WriteTo: address}
	}
	if err := g.cfg.Replica.Stopped(); err != nil {
		return nil, fmt.Errorf("%w: %w", ledger.ErrReadOnly, err)
	}
	return g.cfg.Ledger()
}

// writable is nil, or why this process takes no writes, except perhaps those that reset a clock.
func (g *Gateway) writable() error {
	l, err := g.ledger()
	if err != nil {
		return err
	}
	return l.Writable()
}
