package history

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/asof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// tenantRollback is the rollback of one of many tenants.
type tenantRollback struct {
	tenant ledger.Tenant
	plan   *rollbackPlan
	result *stelev1.RollbackResponse
	// younger is set if the tenant's first commit is later than the time to go back to:
	// the tenant is skipped.
	younger bool
	err     error
}

// pending reports whether there is something left to do for the tenant.
func (t *tenantRollback) pending() bool {
	return t.err == nil && !t.younger && t.result == nil && !t.plan.idle()
}

// rollbackMany rolls back tenants one by one: a tenant that fails keeps no other
// from being rolled back.
func rollbackMany(ctx context.Context, s *session.Session, cmd *cobra.Command, r *rollbackFlags, to asof.Ref, req *stelev1.RollbackRequest) error {
	tenants, err := chosenTenants(ctx, s, r)
	if err != nil {
		return err
	}
	all := make([]*tenantRollback, len(tenants))
	for i, t := range tenants {
		all[i] = &tenantRollback{tenant: t}
	}
	// Each tenant keeps its own error.
	_ = session.EachTenant(ctx, tenants, func(ctx context.Context, i int) error {
		t := all[i]
		t.plan, t.err = planRollback(ctx, s, to, req)
		if status.Code(t.err) == codes.OutOfRange && !to.Time.IsZero() && to.Time.Before(time.Now()) {
			t.younger, t.err = true, nil
		}
		return nil
	})
	if s.Format == "text" {
		if err := printPlans(s, all); err != nil {
			return err
		}
	}
	todo := count(all, (*tenantRollback).pending)
	if todo > 0 && !r.dryRun {
		if yes, err := session.Confirmed(ctx, r.yes, fmt.Sprintf("Roll back %s?", output.Count(todo, "tenant"))); !yes {
			return err
		}
		_ = session.EachTenant(ctx, tenants, func(ctx context.Context, i int) error {
			if t := all[i]; t.pending() {
				t.result, t.err = rollBack(ctx, s, t.plan)
			}
			return nil
		})
		if s.Format == "text" {
			if err := printResults(s, cmd, all); err != nil {
				return err
			}
		}
	}
	if s.Format != "text" {
		for _, t := range all {
			if err := s.Object(t.object(cmd)); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if failed := count(all, func(t *tenantRollback) bool { return t.err != nil }); failed > 0 {
		return failure.With(failure.Conflict, fmt.Errorf("%d of %s cannot be rolled back", failed, output.Count(len(all), "tenant")))
	}
	return nil
}

func count(all []*tenantRollback, which func(*tenantRollback) bool) (n int) {
	for _, t := range all {
		if which(t) {
			n++
		}
	}
	return n
}

// chosenTenants are those that the flags name.
func chosenTenants(ctx context.Context, s *session.Session, r *rollbackFlags) ([]ledger.Tenant, error) {
	if !r.allTenants {
		return session.ParseTenants(r.tenants)
	}
	var tenants []ledger.Tenant
	all, err := s.Tenants(ctx)
	for _, t := range all {
		tenants = append(tenants, ledger.Tenant(t.Tenant))
	}
	return tenants, err
}

func printPlans(s *session.Session, all []*tenantRollback) error {
	var rows [][]string
	for _, t := range all {
		row := []string{string(t.tenant), "", "", ""}
		switch {
		case t.err != nil:
			row[3] = output.Bad.Render(failure.Message(t.err))
		case t.younger:
			row[3] = "skipped: its first commit is later"
		case t.plan.idle():
			row[3] = "none"
		default:
			row[3] = render.Tally(t.plan.sets, t.plan.deletes)
		}
		if t.plan != nil {
			row[1] = render.Revision(ledger.Revision(t.plan.head).String())
			row[2] = render.Revision(ledger.Revision(t.plan.to).String())
		}
		rows = append(rows, row)
	}
	return s.Table([]string{"TENANT", "HEAD", "TO", "CHANGES"}, rows, 3)
}

func printResults(s *session.Session, cmd *cobra.Command, all []*tenantRollback) error {
	var rows [][]string
	for _, t := range all {
		row := []string{string(t.tenant), "nothing to do", ""}
		switch made := t.object(cmd).Commit; {
		case t.err != nil:
			row[1] = output.Bad.Render(failure.Message(t.err))
		case t.younger:
			row[1] = "skipped"
		case made != nil:
			row[1], row[2] = render.Revision(ledger.Revision(made.Revision).String()), made.Undo
		}
		rows = append(rows, row)
	}
	return s.Table([]string{"TENANT", "RESULT", "UNDO"}, rows, -1)
}

// tenantResult is the result, or the preview, for one tenant, for programs.
type tenantResult struct {
	Tenant  ledger.Tenant `json:"tenant"`
	Head    uint64        `json:"head,omitempty"`
	To      uint64        `json:"to"`
	Sets    int           `json:"sets"`
	Deletes int           `json:"deletes"`
	// Commit is absent if nothing was written.
	Commit *session.CommitResult `json:"commit,omitempty"`
	// Skipped is set if the tenant's first commit is later than the time to go back to.
	Skipped bool   `json:"skipped,omitempty"`
	Error   string `json:"error,omitempty"`
}

func (t *tenantRollback) object(cmd *cobra.Command) tenantResult {
	o := tenantResult{Tenant: t.tenant, Skipped: t.younger}
	if t.plan != nil {
		o.Head, o.To, o.Sets, o.Deletes = t.plan.head, t.plan.to, t.plan.sets, t.plan.deletes
	}
	if made := t.result.GetCommit(); made != nil {
		w := session.ResultOf("", made, fmt.Sprintf("%s --tenant %s", session.GlobalFlags(cmd), t.tenant))
		o.Commit = &w
	}
	if t.err != nil {
		o.Error = failure.Message(t.err)
	}
	return o
}
