package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func showCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show REV",
		Short: "Show a commit: who, when, why, and what was before",
		Example: `  stele show @HEAD
  stele show @2025-03-04T08:00Z`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.RunE = c.connected(func(ctx context.Context, s *session, args []string) error {
		at, err := s.at(ctx, args[0])
		if err != nil {
			return err
		}
		info, err := s.commitAt(ctx, at)
		if err != nil {
			return err
		}
		return s.showCommit(info)
	})
	return cmd
}

var errNoCommit = failure.With(failure.NotFound, errors.New("@0 is the state before the first commit: no commit made it"))

// commitAt reads the commit that made the state at a moment, with the values
// that it replaced.
func (s *session) commitAt(ctx context.Context, at *stelev1.At) (*stelev1.CommitInfo, error) {
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
	resp, err := s.ledger.GetCommit(ctx, req)
	if !tooLarge(err) {
		return resp.GetInfo(), err
	}
	req.PreviousValues = false
	if resp, err = s.ledger.GetCommit(ctx, req); err != nil {
		return nil, err
	}
	return resp.Info, s.recall(ctx, resp.Info)
}

// tooLarge says that an answer would be larger than a message may be: a commit
// can delete more than it could set.
func tooLarge(err error) bool {
	return status.Code(err) == codes.ResourceExhausted && failure.LimitDelay(err) == 0
}

// recall reads the values that a commit replaced, in as many answers as it takes.
func (s *session) recall(ctx context.Context, info *stelev1.CommitInfo) error {
	c := info.Commit
	var keys []string
	for _, ch := range c.Changes {
		if ch.PreviousRevision > 0 {
			keys = append(keys, ch.Key)
		}
	}
	was, err := s.entriesOf(ctx, keys, ledger.Revision(c.Revision-1))
	if err != nil {
		return err
	}
	info.PreviousValues = make([]string, len(c.Changes))
	for i, ch := range c.Changes {
		info.PreviousValues[i] = was[ch.Key].GetValue()
	}
	return nil
}

// showCommit tells all of a commit; info holds the values that it replaced.
func (s *session) showCommit(info *stelev1.CommitInfo) error {
	if s.Format != "text" {
		return s.Object(commitObject(info))
	}
	c := info.Commit
	rows := [][2]string{
		{"id", hex.EncodeToString(info.Id)},
		{"time", c.Time.AsTime().Format(time.RFC3339Nano)},
		{"author", authorOf(c)},
	}
	if info.Partial {
		rows = append(rows, [2]string{"partial", "it changed other keys, too, which you may not read"})
	}
	if c.Message != "" {
		rows = append(rows, output.Message(c.Message)...)
	}
	if name, what := originWords(c.Origin); name != "" {
		rows = append(rows, [2]string{name, what})
	}
	if err := s.Printf("%s\n", styleRevision(c.Tenant+ledger.Revision(c.Revision).String())); err != nil {
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
		if err := s.printDiff(d, "  ", ""); err != nil {
			return err
		}
	}
	return nil
}

// authorOf says who made a commit, and when that was none of the tenant's. The author
// of what was imported is the source's, whoever imported it.
func authorOf(c *stelev1.Commit) string {
	if c.ByOperator && c.Origin.GetImport() == nil {
		return output.Plain(c.Author) + " (operator)"
	}
	return output.Plain(c.Author)
}

// originWords says where a commit came from; nothing of an ordinary write.
func originWords(o *stelev1.Origin) (name, what string) {
	switch kind := o.GetKind().(type) {
	case *stelev1.Origin_Import:
		return "imported", clock(kind.Import.Recorded) + " by " + output.Plain(kind.Import.Importer)
	case *stelev1.Origin_Rollback:
		what = "to " + ledger.Revision(kind.Rollback.Revision).String()
		if prefix := kind.Rollback.Prefix; prefix != "" {
			what += ", keys under " + prefix
		}
		return "rollback", what
	case *stelev1.Origin_Revert:
		revisions := make([]string, len(kind.Revert.Revisions))
		for i, r := range kind.Revert.Revisions {
			revisions[i] = ledger.Revision(r).String()
		}
		return "revert", "of " + strings.Join(revisions, ", ")
	}
	return "", ""
}
