package gateway

import (
	"context"

	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

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
