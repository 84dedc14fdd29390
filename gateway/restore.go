package gateway

import (
	"context"
	"errors"
	"slices"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Rollback makes a part of the state what it was.
func (s ledgerService) Rollback(ctx context.Context, req *stelev1.RollbackRequest) (*stelev1.RollbackResponse, error) {
	l, err := s.g.ledger()
	if err != nil {
		return nil, err
	}
	pattern, err := ledger.ParsePattern(req.Prefix)
	if err != nil {
		return nil, ledger.Invalid("prefix", err.Error())
	}
	c := callerOf(ctx)
	to, err := s.goal(ctx, req)
	if err != nil {
		return nil, err
	}
	done, err := l.Rollback(ctx, c.tenant, ledger.Rollback{To: to, Keys: pattern, Request: ledger.Request{
		Author: c.Subject, ByOperator: c.visits(c.tenant), Message: req.Message, RequestID: req.RequestId, ExpectedHead: revision(req.ExpectedHead), DryRun: req.DryRun, AllowInvalid: req.AllowInvalid,
	}})
	if err != nil {
		return nil, s.g.seen(c, err)
	}
	resp := &stelev1.RollbackResponse{ToRevision: uint64(to), Head: uint64(done.Head)}
	resp.Commit, resp.Sets, resp.Deletes, resp.Changes, err = s.restored(ctx, done)
	return resp, err
}

// goal is the revision to go back to, once the replica holds the head that the
// caller has seen.
func (s ledgerService) goal(ctx context.Context, req *stelev1.RollbackRequest) (ledger.Revision, error) {
	v, err := s.g.view(ctx, replica.At{}, max(req.MinRevision, req.GetExpectedHead()))
	if err != nil {
		return 0, err
	}
	defer v.Close()
	return revisionOf(v, req.To, "to")
}

// Revert takes single commits back.
func (s ledgerService) Revert(ctx context.Context, req *stelev1.RevertRequest) (*stelev1.RevertResponse, error) {
	l, err := s.g.ledger()
	if err != nil {
		return nil, err
	}
	c := callerOf(ctx)
	if err := s.g.wait(ctx, c.tenant, ledger.Revision(max(req.MinRevision, req.GetExpectedHead()))); err != nil {
		return nil, err
	}
	revisions := make([]ledger.Revision, len(req.Revisions))
	for i, r := range req.Revisions {
		revisions[i] = ledger.Revision(r)
	}
	done, err := l.Revert(ctx, c.tenant, ledger.Revert{Revisions: revisions, Request: ledger.Request{
		Author: c.Subject, ByOperator: c.visits(c.tenant), Message: req.Message, RequestID: req.RequestId, ExpectedHead: revision(req.ExpectedHead), DryRun: req.DryRun, AllowInvalid: req.AllowInvalid,
	}})
	if err != nil {
		return nil, s.g.seen(c, err)
	}
	resp := &stelev1.RevertResponse{Head: uint64(done.Head)}
	resp.Commit, resp.Sets, resp.Deletes, resp.Changes, err = s.restored(ctx, done)
	return resp, err
}

// seen leaves the keys that the caller may not read out of what has changed since
// the head that it expects, and out of what a schema would break.
func (g *Gateway) seen(c caller, err error) error {
	var invalid *ledger.InvalidError
	if errors.As(err, &invalid) {
		return g.seenViolations(c, invalid)
	}
	var moved *ledger.ConflictError
	if !errors.As(err, &moved) {
		return err
	}
	sees, failed := g.scope(c, toRead)
	if failed != nil {
		return failed
	}
	return &ledger.ConflictError{Tenant: moved.Tenant, Conflicts: slices.DeleteFunc(slices.Clone(moved.Conflicts), func(of ledger.Conflict) bool {
		return of.Key != "" && !sees.key(string(of.Key))
	})}
}

func (g *Gateway) seenViolations(c caller, err *ledger.InvalidError) error {
	if !slices.ContainsFunc(err.Violations, func(v ledger.Violation) bool { return v.Key != "" }) {
		return err
	}
	sees, failed := g.scope(c, toRead)
	if failed != nil {
		return failed
	}
	out := slices.Clone(err.Violations)
	for i, v := range out {
		if v.Key != "" && !sees.key(string(v.Key)) {
			out[i].Description = "what it would break is under a prefix that you may not read: ask somebody who may"
		}
	}
	return &ledger.InvalidError{Violations: out}
}

func revision(r *uint64) *ledger.Revision {
	if r == nil {
		return nil
	}
	rev := ledger.Revision(*r)
	return &rev
}

// restored is what a response says of what was, or would be, done: the changes
// only where they are not in a commit.
func (s ledgerService) restored(ctx context.Context, r ledger.Restored) (commit *stelev1.CommitResponse, sets, deletes uint32, changes []*stelev1.Change, err error) {
	for _, ch := range r.Changes {
		if ch.Delete {
			deletes++
		} else {
			sets++
		}
	}
	if r.Result != nil {
		return resultOf(*r.Result), sets, deletes, nil, nil
	}
	screen, err := s.g.screen(ctx, false)
	if err != nil {
		return nil, 0, 0, nil, err
	}
	return nil, sets, deletes, ledger.ChangesProto(screen.changes(r.Changes)), nil
}
