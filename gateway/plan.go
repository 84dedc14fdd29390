package gateway

import (
	"context"
	"fmt"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/replica"
	"github.com/stelehq/stele/ledger/routes"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Plan tells what a change set would change, and what the sinks would not take of it.
func (s ledgerService) Plan(ctx context.Context, req *stelev1.PlanRequest) (*stelev1.PlanResponse, error) {
	l, err := s.g.ledger()
	if err != nil {
		return nil, err
	}
	c := callerOf(ctx)
	cs, err := changeSet(c, req.Commit)
	if err != nil {
		return nil, err
	}
	redact, err := s.g.redactor(ctx, false)
	if err != nil {
		return nil, err
	}
	p, err := l.Plan(ctx, c.Tenant, cs)
	if err != nil {
		return nil, s.g.seen(c, err)
	}
	resp := &stelev1.PlanResponse{Head: uint64(p.Head)}
	size := 0
	for i, d := range p.Diffs {
		if p.Commit.Changes[i].Delete {
			resp.Deletes++
		} else {
			resp.Sets++
		}
		if d.From.Value.Equal(d.To.Value) {
			continue
		}
		shown := &stelev1.KeyDiff{
			Key:       string(d.Key),
			FromValue: string(redact.hide(d.Key, d.From.Value)), FromRevision: uint64(d.From.Revision),
			ToValue: string(redact.hide(d.Key, d.To.Value)), ToRevision: uint64(d.To.Revision),
		}
		if size += len(shown.Key) + len(shown.FromValue) + len(shown.ToValue); size > MaxMessage {
			return nil, fmt.Errorf("%w: what would change has more than %d bytes; plan fewer changes at a time", errTooLarge, MaxMessage)
		}
		resp.Diffs = append(resp.Diffs, shown)
	}
	if s.g.cfg.Refusals == nil || c.Tenant.Reserved() {
		return resp, nil
	}
	resp.Refusals, err = s.refusals(ctx, redact.table, p)
	return resp, err
}

// refusals are what the sinks would not take.
func (s ledgerService) refusals(ctx context.Context, table *routes.Table, p ledger.Planned) ([]*stelev1.SinkRefusal, error) {
	v, err := s.g.view(ctx, replica.At{Revision: p.Head}, 0)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	return s.g.cfg.Refusals(table, p.Commit, func(prefix ledger.Prefix, yield func(ledger.Key) bool) error {
		return v.Keys(prefix, "", func(e replica.Entry) bool { return yield(ledger.Key(e.Key)) })
	})
}
