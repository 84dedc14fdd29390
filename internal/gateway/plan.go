package gateway

import (
	"context"
	"fmt"

	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/conn"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Plan returns the changes that a change set would make, and those that the sinks would
// reject.
func (s ledgerService) Plan(ctx context.Context, req *stelev1.PlanRequest) (*stelev1.PlanResponse, error) {
	l, err := s.g.ledger()
	if err != nil {
		return nil, err
	}
	c := policy.CallerOf(ctx)
	viewer := s.g.policy.View(c, policy.Methods[stelev1.Ledger_Plan_FullMethodName])
	cs, err := changeSet(c, viewer, req.Commit)
	if err != nil {
		return nil, err
	}
	redact, err := s.g.redaction.For(ctx, false)
	if err != nil {
		return nil, err
	}
	p, err := l.Plan(ctx, c.Tenant, cs)
	if err := recorded(ctx, viewer, false, err); err != nil {
		return nil, err
	}
	resp := &stelev1.PlanResponse{HeadId: view.IDBytes(p.Head, p.Commit.Parent), Head: uint64(p.Head), NotChecked: viewer.NotChecked()}
	size := 0
	for i, d := range p.Diffs {
		if p.Commit.Changes[i].Delete {
			resp.Deletes++
		} else {
			resp.Sets++
		}
		// Whether a secret stays the same is not reported.
		if !redact.Secret(d.Key, d.From.Value) && !redact.Secret(d.Key, d.To.Value) && d.From.Value.Equal(d.To.Value) {
			continue
		}
		shown := &stelev1.KeyDiff{
			Key:       string(d.Key),
			FromValue: string(redact.Hide(d.Key, d.From.Value)), FromRevision: uint64(d.From.Revision),
			ToValue: string(redact.Hide(d.Key, d.To.Value)), ToRevision: uint64(d.To.Revision),
			FromBase: d.From.Base.Proto(), ToBase: d.To.Base.Proto(),
		}
		if size += len(shown.Key) + len(shown.FromValue) + len(shown.ToValue); size > conn.MaxMessage {
			return nil, fmt.Errorf("%w: what would change has more than %d bytes; plan fewer changes at a time", apierror.ErrTooLarge, conn.MaxMessage)
		}
		resp.Diffs = append(resp.Diffs, shown)
	}
	resp.Refusals, err = s.refusals(ctx, redact.Table, viewer, p.Head, p.Commit)
	return resp, err
}

// refusals are the changes of a commit after the head that the sinks would reject. Keys
// that the caller may not read count as not set.
func (s ledgerService) refusals(ctx context.Context, table *routes.Table, viewer *policy.Viewer, head ledger.Revision, c *ledger.Commit) ([]*stelev1.SinkRefusal, error) {
	if s.g.cfg.Refusals == nil || c.Tenant.Reserved() {
		return nil, nil
	}
	v, err := s.g.views.Open(ctx, replica.At{Revision: head}, view.Seen{})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	return s.g.cfg.Refusals(table, c, func(prefix ledger.Prefix, yield func(ledger.Key) bool) error {
		for e, err := range v.Keys(prefix, "") {
			if err != nil {
				return err
			}
			if viewer.Reads(c.Tenant, e.Key) && !yield(e.Key) {
				break
			}
		}
		return nil
	})
}
