package history

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func ShowCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show REV",
		Short: "Show a commit: author, time, message and previous values",
		Example: `  stele show @HEAD
  stele show @2025-03-04T08:00Z`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		at, err := s.At(ctx, args[0])
		if err != nil {
			return err
		}
		info, err := commitAt(ctx, s, at)
		if err != nil {
			return err
		}
		return showCommit(s, info)
	})
	return cmd
}

var errNoCommit = failure.With(failure.NotFound, errors.New("@0 is the state before the first commit: no commit made it"))

// commitAt reads the commit that made the state at a moment, with the values
// that it replaced.
func commitAt(ctx context.Context, s *session.Session, at *stelev1.At) (*stelev1.CommitInfo, error) {
	req := &stelev1.GetCommitRequest{PreviousValues: true}
	switch p := at.GetPoint().(type) {
	case *stelev1.At_Revision:
		if p.Revision == 0 {
			return nil, errNoCommit
		}
		req.Commit = &stelev1.GetCommitRequest_Revision{Revision: p.Revision}
	case *stelev1.At_Time:
		req.Commit = &stelev1.GetCommitRequest_Time{Time: p.Time}
	default:
		return nil, failure.Usagef("name a commit by its revision, e.g. @42")
	}
	resp, err := s.Ledger.GetCommit(ctx, req)
	if !session.TooLarge(err) {
		return resp.GetInfo(), err
	}
	req.PreviousValues = false
	if resp, err = s.Ledger.GetCommit(ctx, req); err != nil {
		return nil, err
	}
	return resp.Info, s.Recall(ctx, resp.Info)
}

// showCommit prints all of a commit; info holds the values that it replaced.
func showCommit(s *session.Session, info *stelev1.CommitInfo) error {
	if s.Format != "text" {
		return s.Object(render.CommitObject(info))
	}
	c := info.Commit
	rows := [][2]string{
		{"id", hex.EncodeToString(info.Id)},
		{"time", c.Time.AsTime().Format(time.RFC3339Nano)},
	}
	rows = append(rows, render.Authorship(c)...)
	if info.Partial {
		rows = append(rows, [2]string{"partial", "it also changed keys that you may not read"})
	}
	if c.Message != "" {
		rows = append(rows, output.Message(c.Message)...)
	}
	if name, what := render.Origin(c.Origin); name != "" {
		rows = append(rows, [2]string{name, what})
	}
	if err := s.Printf("%s\n", render.Revision(c.Tenant+ledger.Revision(c.Revision).String())); err != nil {
		return err
	}
	for _, row := range rows {
		if err := s.Printf("%s  %s\n", output.Faint.Render(fmt.Sprintf("%-8s", row[0])), row[1]); err != nil {
			return err
		}
	}
	for i, ch := range c.Changes {
		d := &stelev1.KeyDiff{Key: ch.Key, ToValue: ch.Value}
		if i < len(info.PreviousValues) {
			d.FromValue = info.PreviousValues[i]
		}
		if err := render.PrintDiff(s.Printer, d, "  ", ""); err != nil {
			return err
		}
	}
	return nil
}
