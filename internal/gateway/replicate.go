package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/replication"
	"github.com/stelehq/stele/internal/gateway/share"
	"github.com/stelehq/stele/internal/gateway/task"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// replicationService lets edges replicate from this gateway.
type replicationService struct {
	stelev1.UnimplementedReplicationServer
	g *Gateway
}

// mayReplicate is nil if the caller is allowed to copy the tenant's commits: an operator,
// or an edge whose token names the tenant and, if the tenant has grants, holds one with
// the operation replicate.
func (s replicationService) mayReplicate(c Caller, t ledger.Tenant) error {
	return s.g.policy.MayOn(c.In(t), policy.ToReplicate, "")
}

// mayProve is nil if the caller is allowed to have commits of the tenant proven: if it may
// replicate the tenant, or one that has the tenant as a base.
func (s replicationService) mayProve(c Caller, t ledger.Tenant) error {
	err := s.mayReplicate(c, t)
	if err == nil {
		return nil
	}
	for _, heir := range s.g.cfg.Replica.Heirs(t) {
		if s.mayReplicate(c, heir) == nil {
			return nil
		}
	}
	return err
}

// mayReplicateAll is nil if the caller is allowed to copy the commits of all tenants, also
// of those that do not exist yet.
func (s replicationService) mayReplicateAll(c Caller) error {
	if !c.Has(identity.Operator) && !c.MayReplicate(identity.AllTenants) {
		return policy.Denied("the token of %s does not name all tenants (%q) to replicate", c.Subject, identity.AllTenants)
	}
	for _, h := range s.g.cfg.Replica.Heads("") {
		if err := s.mayReplicate(c, h.Tenant); err != nil {
			return err
		}
	}
	return nil
}

// minPollInterval is the shortest time between two polls of a stream that are answered.
const minPollInterval = 50 * time.Millisecond

// maxFollows is how many replications run at a time. Their tokens may name no tenant, so no
// tenant's limits apply to them.
const maxFollows = 1000

// Follow sends the commits of tenants to an edge.
func (s replicationService) Follow(stream grpc.BidiStreamingServer[stelev1.FollowRequest, stelev1.FollowResponse]) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	c := policy.CallerOf(ctx)
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start == nil {
		return ledger.Invalid("start", "the first request of a stream must be a start")
	}
	tenants, err := s.wanted(start)
	if err != nil {
		return err
	}
	allowed := func() error {
		if start.AllTenants {
			return s.mayReplicateAll(c)
		}
		for _, t := range tenants {
			if err := s.mayReplicate(c, t); err != nil {
				return err
			}
		}
		return nil
	}
	if err := allowed(); err != nil {
		return err
	}
	leave, ok := s.g.follows.Take(c.Subject, c.Subject)
	if !ok {
		return &share.FullError{Subject: c.Subject, Uses: "replications", Slots: maxFollows}
	}
	defer leave()
	if err := s.record(ctx, c, tenants); err != nil {
		return err
	}
	polls := make(chan uint64, 1)
	s.g.running.Go(func() { // ends with the stream
		cancel(task.Run(func() error { return s.receivePolls(ctx, stream, polls) }))
	})
	server := replication.Server{Replica: s.g.cfg.Replica, Path: s.g.path, Recheck: allowed}
	err = server.Follow(ctx, tenants, start, polls, stream.Send)
	if cause := context.Cause(ctx); ctx.Err() != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// receivePolls passes on the polls of an edge until its stream ends.
func (s replicationService) receivePolls(ctx context.Context, stream grpc.BidiStreamingServer[stelev1.FollowRequest, stelev1.FollowResponse], polls chan<- uint64) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		poll := req.GetPoll()
		if poll == nil {
			return ledger.Invalid("poll", "after the start, all requests of a stream are polls")
		}
		s.g.fleet.FromEdge(policy.CallerOf(ctx).Subject, time.Now(), poll.Gateways)
		select {
		case polls <- poll.Id:
		case <-ctx.Done():
			return nil
		}
		select { // flow control slows down an edge that polls more often
		case <-time.After(minPollInterval):
		case <-ctx.Done():
			return nil
		}
	}
}

// wanted reads which tenants the edge asks for; none for all.
func (s replicationService) wanted(start *stelev1.FollowStart) ([]ledger.Tenant, error) {
	if start.AllTenants {
		if len(start.Tenants) > 0 {
			return nil, ledger.Invalid("start.tenants", "name tenants, or ask for all of them with all_tenants")
		}
		if len(s.g.cfg.Tenants) > 0 {
			return nil, fmt.Errorf("%w: it replicates some tenants only; ask another gateway for all", apierror.ErrNotServed)
		}
		return nil, nil
	}
	if len(start.Tenants) == 0 {
		return nil, ledger.Invalid("start.tenants", "name at least one tenant, or ask for all of them with all_tenants")
	}
	tenants := make([]ledger.Tenant, len(start.Tenants))
	for i, name := range start.Tenants {
		t, err := ledger.ParseTenant(name)
		switch {
		case err != nil:
			return nil, ledger.Invalid(fmt.Sprintf("start.tenants[%d]", i), err.Error())
		case t.Reserved():
			return nil, ledger.Invalid(fmt.Sprintf("start.tenants[%d]", i), fmt.Sprintf("%s comes along with any other tenant: leave it out", t))
		case !s.g.serves(t):
			return nil, fmt.Errorf("%w: %s; ask another gateway", apierror.ErrNotServed, t)
		}
		tenants[i] = t
	}
	return tenants, nil
}

// record makes a record of the replication of each tenant whose policy asks for one, and of
// the bases that are replicated with them. An edge with all tenants has a record at each of
// those that exist now.
func (s replicationService) record(ctx context.Context, c Caller, tenants []ledger.Tenant) error {
	if len(tenants) == 0 {
		for _, h := range s.g.cfg.Replica.Heads("") {
			tenants = append(tenants, h.Tenant)
		}
	}
	for _, t := range s.withBases(tenants) {
		if err := s.g.policy.Record(ctx, c, policy.Methods[stelev1.Replication_Follow_FullMethodName], t, policy.Asked{Prefixes: []string{""}}, 0); err != nil {
			return err
		}
	}
	return nil
}

// withBases are the tenants and their bases.
func (s replicationService) withBases(tenants []ledger.Tenant) []ledger.Tenant {
	all := slices.Clone(tenants)
	for _, t := range tenants {
		for _, b := range s.g.cfg.Replica.Bases(t) {
			all = append(all, b.Tenant)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Prove proves commits, from this gateway's tree or its upstream's.
func (s replicationService) Prove(ctx context.Context, req *stelev1.ProveRequest) (*stelev1.ProveResponse, error) {
	c := policy.CallerOf(ctx)
	if len(c.Replicates) == 0 && !c.Has(identity.Operator) {
		return nil, policy.Denied("the token of %s names no tenants to replicate", c.Subject)
	}
	for i, h := range req.Commits {
		if h.Revision == 0 {
			return nil, ledger.Invalid(fmt.Sprintf("commits[%d].revision", i), "must be at least 1")
		}
		if t := ledger.Tenant(h.Tenant); t != ledger.System {
			if err := s.mayProve(c, t); err != nil {
				return nil, err
			}
		}
	}
	switch {
	case s.g.cfg.Tree != nil:
		newest, err := s.g.checkpoints(int(req.Cosignatures))
		if err != nil {
			return nil, err
		}
		if req.Seen != "" {
			if err := compareCheckpoint(s.g.cfg.Tree, req.Seen); err != nil {
				return nil, err
			}
		}
		at, _ := newest()
		return replication.Prove(s.g.cfg.Tree, at, req)
	case s.g.cfg.Upstream != nil:
		return s.g.cfg.Upstream.Prove(ctx, req)
	}
	return nil, apierror.ErrNoTree
}

// RecordRead makes a record that an edge has written durable.
func (s replicationService) RecordRead(ctx context.Context, req *stelev1.RecordReadRequest) (*stelev1.RecordReadResponse, error) {
	t, err := ledger.ParseTenant(req.Tenant)
	if err != nil {
		return nil, ledger.Invalid("tenant", err.Error())
	}
	if err := s.mayReplicate(policy.CallerOf(ctx), t); err != nil {
		return nil, err
	}
	var record stelev1.ReadRecord
	if err := proto.Unmarshal(req.Record, &record); err != nil || record.Tenant != req.Tenant {
		return nil, ledger.Invalid("record", "it is not the bytes of a ReadRecord of "+req.Tenant)
	}
	log, err := s.g.policy.ReadLog()
	if err != nil {
		return nil, err
	}
	seq, err := log.Append(ctx, req.Tenant, req.Record)
	if err != nil {
		return nil, err
	}
	return &stelev1.RecordReadResponse{Sequence: uint64(seq)}, nil
}

// path is the gateways from this one up to the one that follows the journal.
func (g *Gateway) path() replication.Path {
	if g.cfg.Upstream != nil {
		return g.cfg.Upstream.Path()
	}
	return replication.Path{g.cfg.ID}
}
