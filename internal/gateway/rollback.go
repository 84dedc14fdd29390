package gateway

import (
	"context"

	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Rollback makes a part of the state equal to an earlier one.
func (s ledgerService) Rollback(ctx context.Context, req *stelev1.RollbackRequest) (*stelev1.RollbackResponse, error) {
	l, err := s.g.ledger()
	if err != nil {
		return nil, err
	}
	pattern, err := ledger.ParsePattern(req.Prefix)
	if err != nil {
		return nil, ledger.Invalid("prefix", err.Error())
	}
	c := policy.CallerOf(ctx)
	to, err := s.goal(ctx, req)
	if err != nil {
		return nil, err
	}
	viewer := s.g.policy.View(c, policy.Methods[stelev1.Ledger_Rollback_FullMethodName])
	request := requestOf(c, viewer, req, req.ExpectedHead)
	request.AllowInvalid = req.AllowInvalid
	done, err := l.Rollback(ctx, c.Tenant, ledger.Rollback{To: to, Keys: pattern, Request: request})
	if err := recorded(ctx, viewer, done.Result != nil, err); err != nil {
		return nil, err
	}
	parts, err := s.restored(ctx, viewer, done)
	return &stelev1.RollbackResponse{
		ToRevision: uint64(to), Head: uint64(done.Head), HeadId: view.IDBytes(done.Head, done.HeadID), NotChecked: viewer.NotChecked(),
		Commit: parts.commit, Sets: parts.sets, Deletes: parts.deletes, Changes: parts.changes, Refusals: parts.refusals,
	}, err
}

// goal is the revision to go back to, once the replica holds the head that the
// caller has seen.
func (s ledgerService) goal(ctx context.Context, req *stelev1.RollbackRequest) (ledger.Revision, error) {
	v, err := s.g.views.Open(ctx, replica.At{}, previewed(req))
	if err != nil {
		return 0, err
	}
	defer v.Close()
	return view.RevisionOf(v, req.To, "to")
}

// Revert takes single commits back.
func (s ledgerService) Revert(ctx context.Context, req *stelev1.RevertRequest) (*stelev1.RevertResponse, error) {
	l, err := s.g.ledger()
	if err != nil {
		return nil, err
	}
	c := policy.CallerOf(ctx)
	if err := s.g.views.Wait(ctx, c.Tenant, previewed(req)); err != nil {
		return nil, err
	}
	revisions := make([]ledger.Revision, len(req.Revisions))
	for i, r := range req.Revisions {
		revisions[i] = ledger.Revision(r)
	}
	viewer := s.g.policy.View(c, policy.Methods[stelev1.Ledger_Revert_FullMethodName])
	request := requestOf(c, viewer, req, req.ExpectedHead)
	request.AllowInvalid = req.AllowInvalid
	done, err := l.Revert(ctx, c.Tenant, ledger.Revert{Revisions: revisions, Request: request})
	if err := recorded(ctx, viewer, done.Result != nil, err); err != nil {
		return nil, err
	}
	parts, err := s.restored(ctx, viewer, done)
	return &stelev1.RevertResponse{
		Head: uint64(done.Head), HeadId: view.IDBytes(done.Head, done.HeadID), NotChecked: viewer.NotChecked(),
		Commit: parts.commit, Sets: parts.sets, Deletes: parts.deletes, Changes: parts.changes, Refusals: parts.refusals,
	}, err
}

// previewed is the newest commit that the caller has seen, which may be the head of a
// preview.
func previewed(req interface {
	GetMinRevision() uint64
	GetMinId() []byte
	GetExpectedHead() uint64
	GetExpectedHeadId() []byte
}) view.Seen {
	if req.GetExpectedHead() > req.GetMinRevision() {
		return view.Seen{Revision: ledger.Revision(req.GetExpectedHead()), ID: req.GetExpectedHeadId()}
	}
	return view.SeenBy(req)
}

// requestOf is the part that requests have in common whose changes the ledger plans.
func requestOf(c policy.Caller, viewer *policy.Viewer, req interface {
	GetMessage() string
	GetRequestId() string
	GetExpectedHeadId() []byte
	GetDryRun() bool
}, expectedHead *uint64) ledger.Request {
	return ledger.Request{
		Author: c.Subject, ByOperator: c.ActsFor(c.Tenant), Message: req.GetMessage(), RequestID: req.GetRequestId(),
		ExpectedHead: revision(expectedHead), ExpectedHeadID: req.GetExpectedHeadId(), DryRun: req.GetDryRun(), Viewer: viewer,
	}
}

func revision(r *uint64) *ledger.Revision {
	if r == nil {
		return nil
	}
	rev := ledger.Revision(*r)
	return &rev
}

// restoredParts are the parts that the answers to a rollback, revert and copy have in common.
type restoredParts struct {
	commit        *stelev1.CommitResponse // nil on a dry run
	sets, deletes uint32
	// On a dry run; otherwise a commit has the changes.
	changes  []*stelev1.Change
	refusals []*stelev1.SinkRefusal
}

func (s ledgerService) restored(ctx context.Context, viewer *policy.Viewer, r ledger.Restored) (parts restoredParts, err error) {
	for _, ch := range r.Changes {
		if ch.Delete {
			parts.deletes++
		} else {
			parts.sets++
		}
	}
	if r.Result != nil {
		parts.commit = resultOf(*r.Result)
		return parts, nil
	}
	redact, err := s.g.redaction.For(ctx, false)
	if err != nil {
		return parts, err
	}
	// Secrets are masked, because the stored ones are encrypted and longer.
	c := &ledger.Commit{Tenant: policy.CallerOf(ctx).Tenant, Revision: r.Head + 1, Changes: redact.Changes(r.Changes)}
	parts.changes = ledger.ChangesProto(c.Changes)
	parts.refusals, err = s.refusals(ctx, redact.Table, viewer, r.Head, c)
	return parts, err
}

// Copy copies or renames keys.
func (s ledgerService) Copy(ctx context.Context, req *stelev1.CopyRequest) (*stelev1.CopyResponse, error) {
	l, err := s.g.ledger()
	if err != nil {
		return nil, err
	}
	c := policy.CallerOf(ctx)
	if err := s.g.views.Wait(ctx, c.Tenant, previewed(req)); err != nil {
		return nil, err
	}
	viewer := s.g.policy.View(c, policy.Methods[stelev1.Ledger_Copy_FullMethodName])
	done, err := l.Copy(ctx, c.Tenant, ledger.Copy{From: ledger.Name(req.From), To: ledger.Name(req.To), Rename: req.Rename, Request: requestOf(c, viewer, req, req.ExpectedHead)})
	if err := recorded(ctx, viewer, done.Result != nil, err); err != nil {
		return nil, err
	}
	parts, err := s.restored(ctx, viewer, done)
	return &stelev1.CopyResponse{
		Head: uint64(done.Head), HeadId: view.IDBytes(done.Head, done.HeadID), NotChecked: viewer.NotChecked(),
		Commit: parts.commit, Sets: parts.sets, Deletes: parts.deletes, Changes: parts.changes, Refusals: parts.refusals,
	}, err
}
