package history

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/wire"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
		return showCommit(ctx, s, info)
	})
	return cmd
}

var errNoCommit = failure.With(failure.NotFound, errors.New("@0 is the state before the first commit: no commit made it"))

// commitAt reads the commit that made a state, with the values that it replaced.
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

// maxInherited is the number of inherited changes that are shown of a commit.
const maxInherited = 50

// inheritedChanges are the first changes of inherited values by a commit that sets the list of
// bases, and whether there are more. A caller that may read only some keys gets none.
func inheritedChanges(ctx context.Context, s *session.Session, c *stelev1.Commit) (*stelev1.DiffResponse, error) {
	if !slices.ContainsFunc(c.Changes, func(ch *stelev1.Change) bool { return ch.Key == string(ledger.BasesKey) }) {
		return nil, nil
	}
	at := func(rev uint64) *stelev1.At { return wire.AtRevision(ledger.Revision(rev)) }
	resp, err := s.Ledger.Diff(ctx, &stelev1.DiffRequest{From: at(c.Revision - 1), To: at(c.Revision), PageSize: maxInherited})
	if status.Code(err) == codes.PermissionDenied {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("compare the values that are inherited: %w", err)
	}
	resp.Diffs = slices.DeleteFunc(resp.Diffs, func(d *stelev1.KeyDiff) bool {
		return slices.ContainsFunc(c.Changes, func(ch *stelev1.Change) bool { return ch.Key == d.Key })
	})
	return resp, nil
}

// commitWithEffect is a commit with its changes of inherited values, for programs.
type commitWithEffect struct {
	render.Commit
	Inherited []render.KeyDiff `json:"inherited,omitempty"`
	// InheritedMore reports that only the first are listed.
	InheritedMore bool `json:"inherited_more,omitempty"`
}

func commitObject(info *stelev1.CommitInfo, effect *stelev1.DiffResponse) (o commitWithEffect, err error) {
	o.Commit, o.InheritedMore = render.CommitObject(info), effect.GetNextPageToken() != ""
	for _, d := range effect.GetDiffs() {
		diff, err := render.DiffObject(d)
		if err != nil {
			return o, err
		}
		o.Inherited = append(o.Inherited, diff)
	}
	return o, nil
}

// showCommit prints all of a commit; info holds the values that it replaced.
func showCommit(ctx context.Context, s *session.Session, info *stelev1.CommitInfo) error {
	effect, err := inheritedChanges(ctx, s, info.Commit)
	if err != nil {
		return err
	}
	if s.Format != "text" {
		o, err := commitObject(info, effect)
		if err != nil {
			return err
		}
		return s.Object(o)
	}
	c := info.Commit
	rows := [][2]string{
		{"id", hex.EncodeToString(info.Id)},
		{"time", c.Time.AsTime().Format(time.RFC3339Nano)},
	}
	if info.EffectiveTime != nil {
		rows = append(rows, [2]string{"ahead", "counts as made at " + info.EffectiveTime.AsTime().Format(time.RFC3339Nano)})
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
	if info.MoreChanges {
		return pointToDiff(s, c)
	}
	return showInherited(s, c, effect)
}

// showInherited prints the changes of inherited values, each with its base.
func showInherited(s *session.Session, c *stelev1.Commit, effect *stelev1.DiffResponse) error {
	if len(effect.GetDiffs()) == 0 {
		return nil
	}
	if err := s.Printf("%s\n", output.Faint.Render("inherited")); err != nil {
		return err
	}
	for _, d := range effect.Diffs {
		if err := render.PrintDiff(s.Printer, d, "  ", render.InheritedFrom(d)); err != nil {
			return err
		}
	}
	if effect.NextPageToken == "" {
		return nil
	}
	return pointToDiff(s, c)
}

// pointToDiff prints the command that lists all changes of a commit.
func pointToDiff(s *session.Session, c *stelev1.Commit) error {
	return s.Printf("  ... all: stele diff %s %s --tenant %s\n", ledger.Revision(c.Revision-1), ledger.Revision(c.Revision), c.Tenant)
}
