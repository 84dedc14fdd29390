package keys

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

const copyRules = `

Both names are keys, or both are prefixes that end with "/". If the tenant has
set some of the new keys, nothing is written and the error lists them. The
gateway encrypts secrets again and never shows them; this requires the
permission to reveal them, and the new keys must be secret as well. "stele log"
and "stele blame" of the new keys continue with the old ones.`

func CopyCommand(c *session.Flags) *cobra.Command {
	return copyCommand(c, &stelev1.CopyRequest{}, &cobra.Command{
		Use:   "cp FROM TO",
		Short: "Copy a key, or the keys below a prefix, in one commit",
		Long: `Copy a key, or the keys below a prefix, in one commit. With a prefix it copies
the tenant's own values, not inherited ones.` + copyRules,
		Example: `  stele cp tenantconfig/checkout/timeout_ms tenantconfig/refunds/timeout_ms
  stele cp tenantconfig/checkout/ tenantconfig/refunds/ --dry-run`,
	})
}

func MoveCommand(c *session.Flags) *cobra.Command {
	return copyCommand(c, &stelev1.CopyRequest{Rename: true}, &cobra.Command{
		Use:   "mv OLD NEW",
		Short: "Rename a key, or the keys below a prefix, in one commit",
		Long: `Rename a key, or the keys below a prefix, in one commit. Inherited values are
not renamed.` + copyRules,
		Example: `  stele mv tenantconfig/checkout/timeout tenantconfig/checkout/timeout_ms
  stele mv tenantconfig/checkout/ tenantconfig/shop/ -m "the team was renamed"`,
	})
}

func copyCommand(c *session.Flags, req *stelev1.CopyRequest, cmd *cobra.Command) *cobra.Command {
	cmd.Args, cmd.ValidArgsFunction = cobra.ExactArgs(2), c.CompleteKey
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) (err error) {
		req.From, req.To = args[0], args[1]
		if req.RequestId == "" && !req.DryRun {
			if req.RequestId, err = session.NewRequestID(); err != nil {
				return err
			}
		}
		resp, err := session.RetryUnknown(ctx, s.Timeout, func(ctx context.Context) (*stelev1.CopyResponse, error) { return s.Ledger.Copy(ctx, req) })
		if session.OutcomeUnknown(err) {
			return failure.Try(err, "retry with --request-id %s: it is written once, whatever the first outcome was", req.RequestId)
		}
		if err != nil {
			return err
		}
		what := render.Tally(int(resp.Sets), int(resp.Deletes))
		if !req.DryRun {
			return s.PrintCommitted(cmd, resp.Commit, what)
		}
		if err := s.PrintChanges(ctx, resp.Head, resp.Changes); err != nil {
			return err
		}
		render.WarnRefusals(resp.Refusals)
		if s.Format != "text" {
			return nil
		}
		return s.Printf("dry run at %s: %s\n", render.Revision(s.Name(resp.Head)), what)
	})
	cmd.Flags().StringVarP(&req.Message, "message", "m", "", "reason for the change, shown in the history")
	cmd.Flags().StringVar(&req.RequestId, "request-id", "", "idempotency key: a repeated request gets the first one's outcome")
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "write nothing; show what would change")
	return cmd
}
