package history

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func RevertCommand(c *session.Flags) *cobra.Command {
	var message string
	var dryRun, allowInvalid bool
	cmd := &cobra.Command{
		Use:   "revert REV...",
		Short: "Undo single commits with a new one",
		Long: `Undo one or more commits with one new commit, which restores the values that
their keys had before. If a later commit has changed one of these keys and is
not undone as well, nothing is written, and the error names the keys and the
commits.`,
		Example: `  stele revert @42
  stele revert @40 @42 --dry-run`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		req := &stelev1.RevertRequest{Message: message, DryRun: dryRun, AllowInvalid: allowInvalid}
		for _, arg := range args {
			at, err := s.At(ctx, arg)
			switch {
			case err != nil:
				return err
			case at.GetTime() != nil || at == nil:
				return failure.Usagef("%q is not a revision: revert takes revisions, e.g. @42", arg)
			case at.GetRevision() == 0:
				return errNoCommit
			}
			req.Revisions = append(req.Revisions, at.GetRevision())
		}
		if dryRun {
			return previewRevert(ctx, s, req)
		}
		return revert(ctx, s, cmd, req)
	})
	cmd.Flags().StringVarP(&message, "message", "m", "", "reason for the change, shown in the history")
	cmd.Flags().BoolVar(&allowInvalid, "allow-invalid", false, "restore schemas even if current values violate them; those values stay")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "write nothing; show what would change")
	return cmd
}

func revert(ctx context.Context, s *session.Session, cmd *cobra.Command, req *stelev1.RevertRequest) error {
	var err error
	if req.RequestId, err = session.NewRequestID(); err != nil {
		return err
	}
	resp, err := session.RetryUnknown(ctx, s.Timeout, func(ctx context.Context) (*stelev1.RevertResponse, error) { return s.Ledger.Revert(ctx, req) })
	if err != nil {
		return seeLog(err)
	}
	if resp.Commit == nil {
		return render.Nothing(s.Printer, "the commits changed nothing: there is nothing to revert")
	}
	return s.PrintCommitted(cmd, resp.Commit, render.Tally(int(resp.Sets), int(resp.Deletes)))
}

func previewRevert(ctx context.Context, s *session.Session, req *stelev1.RevertRequest) error {
	resp, err := s.Ledger.Revert(ctx, req)
	if err != nil {
		return err
	}
	if len(resp.Changes) == 0 {
		return render.Nothing(s.Printer, "the commits changed nothing: there is nothing to revert")
	}
	if err := s.PrintChanges(ctx, resp.Head, resp.Changes); err != nil {
		return err
	}
	render.WarnRefusals(resp.Refusals)
	if s.Format != "text" {
		return nil
	}
	return s.Printf("dry run at %s: %s\n", render.Revision(s.Name(resp.Head)), render.Tally(int(resp.Sets), int(resp.Deletes)))
}

// seeLog says what to do if the outcome of a rollback or revert is unknown.
func seeLog(err error) error {
	if session.OutcomeUnknown(err) {
		return failure.Try(err, "stele log -n 3, to see whether it was written, and if not, the same again")
	}
	return err
}
