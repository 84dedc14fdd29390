package history

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/asof"
	"github.com/stelehq/stele/internal/wire"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// rollbackFlags say what to roll back, and for whom.
type rollbackFlags struct {
	to, message string
	dryRun, yes bool
	// allowInvalid restores schemas that live values break.
	allowInvalid bool
	tenants      []string
	allTenants   bool
}

// bulk reports whether it is for many tenants.
func (r *rollbackFlags) bulk() bool { return len(r.tenants) > 0 || r.allTenants }

func RollbackCommand(c *session.Flags) *cobra.Command {
	var r rollbackFlags
	cmd := &cobra.Command{
		Use:   "rollback --to REV|TIME [PREFIX]",
		Short: "Restore earlier values with a new commit",
		Long: `Restore a past state of all settings, or of those under a prefix, with a new
commit. The command shows what would change and asks for confirmation. If
another user writes before you confirm, nothing is written, and the command
shows what changed.

With --tenants or --all-tenants, an operator rolls back several tenants, with
one commit per tenant. The command previews all of them, then asks once. A
failure in one tenant does not affect the others; the exit code is then 4.`,
		Example: `  stele rollback --to @2h tenantconfig/checkout/
  stele rollback --to @42 --yes -m "back out the release"
  stele rollback --to @2025-03-04T08:00Z --all-tenants --dry-run flags/`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case r.to == "" || len(args) > 1:
				return fmt.Errorf("rollback takes --to REV or TIME and at most one prefix")
			case cmd.Flags().Changed("tenants") && len(r.tenants) == 0:
				return fmt.Errorf("--tenants names no tenant")
			case len(r.tenants) > 0 && r.allTenants:
				return fmt.Errorf("roll back either --tenants or --all-tenants")
			case r.bulk() && c.Choice.Tenant != "":
				return fmt.Errorf("--tenant cannot be combined with --tenants or --all-tenants")
			}
			return nil
		},
		ValidArgsFunction: c.CompleteKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		to, err := session.ParseAsOf(r.to)
		if err != nil {
			return err
		}
		if !r.dryRun && !r.yes && !s.CanAsk() {
			return failure.Try(failure.Usagef("cannot ask for confirmation: standard input is not a terminal"), "--dry-run, to see what would change, or --yes")
		}
		req := &stelev1.RollbackRequest{Prefix: session.FirstArg(args), Message: r.message, AllowInvalid: r.allowInvalid}
		if r.bulk() {
			// The session's context may act for a tenant.
			return rollbackMany(cmd.Context(), s, cmd, &r, to, req)
		}
		return rollback(ctx, s, cmd, &r, to, req)
	})
	flags := cmd.Flags()
	flags.StringVar(&r.to, "to", "", "revision or time to restore")
	flags.StringVarP(&r.message, "message", "m", "", "reason for the change, shown in the history")
	flags.BoolVar(&r.dryRun, "dry-run", false, "write nothing; show what would change")
	flags.BoolVar(&r.allowInvalid, "allow-invalid", false, "restore schemas even if current values violate them; those values stay")
	flags.BoolVar(&r.yes, "yes", false, "do not ask")
	flags.StringSliceVar(&r.tenants, "tenants", nil, "tenants to roll back, for example acme,globex")
	flags.BoolVar(&r.allTenants, "all-tenants", false, "roll back every tenant")
	return cmd
}

func rollback(ctx context.Context, s *session.Session, cmd *cobra.Command, r *rollbackFlags, to asof.Ref, req *stelev1.RollbackRequest) error {
	plan, err := planRollback(ctx, s, to, req)
	if err != nil {
		return err
	}
	if plan.idle() {
		where := ""
		if req.Prefix != "" {
			where = " under " + req.Prefix
		}
		return render.Nothing(s.Printer, fmt.Sprintf("%s and %s do not differ%s: there is nothing to roll back", s.Name(plan.head), s.Name(plan.to), where))
	}
	if s.Format == "text" || r.dryRun {
		if err := previewRollback(ctx, s, plan); err != nil {
			return err
		}
	}
	if r.dryRun {
		return nil
	}
	if yes, err := session.Confirmed(ctx, r.yes, "Roll back?"); !yes {
		return err
	}
	resp, err := rollBack(ctx, s, plan)
	if status.Code(err) == codes.FailedPrecondition {
		return failure.Try(err, "the same again, to see what it would change now")
	}
	if err != nil {
		return seeLog(err)
	}
	if resp.Commit == nil {
		return render.Nothing(s.Printer, "there is nothing left to roll back")
	}
	return s.PrintCommitted(cmd, resp.Commit, render.Tally(int(resp.Sets), int(resp.Deletes)))
}

// rollbackPlan is the effect of a rollback on a tenant.
type rollbackPlan struct {
	req *stelev1.RollbackRequest
	// to is the revision to go back to, head the one to go back from.
	to, head      uint64
	sets, deletes int
	refusals      []*stelev1.SinkRefusal
}

func (p *rollbackPlan) idle() bool { return p.sets+p.deletes == 0 }

// planRollback asks for the effect of the rollback; req is not changed.
func planRollback(ctx context.Context, s *session.Session, to asof.Ref, req *stelev1.RollbackRequest) (*rollbackPlan, error) {
	at, err := s.Resolve(ctx, to)
	if err != nil {
		return nil, err
	}
	resp, err := s.Ledger.Rollback(ctx, &stelev1.RollbackRequest{To: at, Prefix: req.Prefix, Message: req.Message, AllowInvalid: req.AllowInvalid, DryRun: true})
	if err != nil {
		return nil, err
	}
	id, err := session.NewRequestID()
	if err != nil {
		return nil, err
	}
	return &rollbackPlan{
		req: &stelev1.RollbackRequest{
			To: wire.AtRevision(ledger.Revision(resp.ToRevision)), Prefix: req.Prefix, Message: req.Message,
			ExpectedHead: &resp.Head, ExpectedHeadId: resp.HeadId, RequestId: id, AllowInvalid: req.AllowInvalid,
		},
		to: resp.ToRevision, head: resp.Head, sets: int(resp.Sets), deletes: int(resp.Deletes), refusals: resp.Refusals,
	}, nil
}

// previewRollback shows the changes, from the current to the restored values.
func previewRollback(ctx context.Context, s *session.Session, p *rollbackPlan) error {
	req := &stelev1.DiffRequest{From: p.req.To, To: wire.AtRevision(ledger.Revision(p.head)), Prefix: p.req.Prefix, PageSize: 10_000}
	_, err := eachDiff(ctx, s, req, func(d *stelev1.KeyDiff) error { return render.WriteDiff(s.Printer, render.Backwards(d)) })
	if err != nil {
		return err
	}
	render.WarnRefusals(p.refusals)
	if s.Format != "text" {
		return nil
	}
	return s.Printf("%s back to %s: %s\n", render.Revision(s.Name(p.head)), render.Revision(s.Name(p.to)), render.Tally(p.sets, p.deletes))
}

// rollBack executes the plan, unless the head has moved.
func rollBack(ctx context.Context, s *session.Session, p *rollbackPlan) (*stelev1.RollbackResponse, error) {
	return session.RetryUnknown(ctx, s.Timeout, func(ctx context.Context) (*stelev1.RollbackResponse, error) { return s.Ledger.Rollback(ctx, p.req) })
}
