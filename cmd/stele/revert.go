package main

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func revertCommand(c *cli) *cobra.Command {
	var message string
	var dryRun, allowInvalid bool
	cmd := &cobra.Command{
		Use:   "revert REV...",
		Short: "Take single commits back by a new one",
		Long: `Take single commits back, all together, by a new commit that gives their keys the
values that they had before. It is refused, with the keys and the commits, where a
later commit that is not taken back has changed one of their keys.`,
		Example: `  stele revert @42
  stele revert @40 @42 --dry-run`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.RunE = c.connected(func(ctx context.Context, s *session, args []string) error {
		req := &stelev1.RevertRequest{Message: message, DryRun: dryRun, AllowInvalid: allowInvalid}
		for _, arg := range args {
			at, err := s.at(ctx, arg)
			switch {
			case err != nil:
				return err
			case at.GetTime() != nil || at == nil:
				return failure.Usagef("revert takes revisions, e.g. @42; %q is none", arg)
			case at.GetRevision() == 0:
				return errNoCommit
			}
			req.Revisions = append(req.Revisions, at.GetRevision())
		}
		if dryRun {
			return s.previewRevert(ctx, req)
		}
		return s.revert(ctx, cmd, req)
	})
	cmd.Flags().StringVarP(&message, "message", "m", "", "why, for whoever reads the history")
	cmd.Flags().BoolVar(&allowInvalid, "allow-invalid", false, "restore schemas that live values break, and leave those as they are")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "write nothing; show what would change")
	return cmd
}

func (s *session) revert(ctx context.Context, cmd *cobra.Command, req *stelev1.RevertRequest) error {
	var err error
	if req.RequestId, err = newRequestID(); err != nil {
		return err
	}
	resp, err := settle(ctx, s.timeout, func(ctx context.Context) (*stelev1.RevertResponse, error) { return s.ledger.Revert(ctx, req) })
	if err != nil {
		return seeLog(err)
	}
	if resp.Commit == nil {
		return s.nothing("the commits changed nothing: there is nothing to take back")
	}
	return s.written(cmd, resp.Commit, tally(int(resp.Sets), int(resp.Deletes)))
}

func (s *session) previewRevert(ctx context.Context, req *stelev1.RevertRequest) error {
	resp, err := s.ledger.Revert(ctx, req)
	if err != nil {
		return err
	}
	if len(resp.Changes) == 0 {
		return s.nothing("the commits changed nothing: there is nothing to take back")
	}
	if err := s.printChanges(ctx, resp.Head, resp.Changes); err != nil || s.Format != "text" {
		return err
	}
	return s.Printf("dry run at %s: %s\n", styleRevision(s.name(resp.Head)), tally(int(resp.Sets), int(resp.Deletes)))
}

// printChanges shows changes that may be made to the state at head.
func (s *session) printChanges(ctx context.Context, head uint64, changes []*stelev1.Change) error {
	keys := make([]string, len(changes))
	for i, ch := range changes {
		keys[i] = ch.Key
	}
	now, err := s.entriesOf(ctx, keys, ledger.Revision(head))
	if err != nil {
		return err
	}
	for _, ch := range changes {
		is := now[ch.Key]
		d := &stelev1.KeyDiff{Key: ch.Key, FromValue: is.GetValue(), FromRevision: is.GetRevision(), ToValue: ch.Value}
		if err := s.writeDiff(d); err != nil {
			return err
		}
	}
	return nil
}

// nothing says that nothing was written. Programs see it by the lack of a
// result.
func (s *session) nothing(why string) error {
	if s.Format != "text" {
		return nil
	}
	return s.Printf("%s\n", why)
}

// seeLog tells what to do where a gateway that went away left the outcome of a
// rollback or revert unknown.
func seeLog(err error) error {
	if unknown(err) {
		return failure.Try(err, "stele log -n 3, to see whether it was written, and if not, the same again")
	}
	return err
}
