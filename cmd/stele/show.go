package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/changefile"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func showCommand(c *cli) *cobra.Command {
	var undo bool
	cmd := &cobra.Command{
		Use:   "show REV",
		Short: "Show a commit: who, when, why, and what was before",
		Long: `Show a commit: who, when, why, and what was before.

With --undo, print the change set that takes the commit back, for "stele apply".
It is refused where somebody has changed one of the keys since.`,
		Example: `  stele show @HEAD
  stele show @42 --undo | stele apply -f -`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.RunE = c.connected(func(ctx context.Context, s *session, args []string) error {
		info, err := s.commitAt(ctx, args[0])
		if err != nil {
			return err
		}
		before, err := s.before(ctx, info.Commit)
		if err != nil {
			return err
		}
		switch {
		case undo:
			return s.printUndo(info.Commit, before)
		case s.Format != "text":
			o := commitObject(info)
			for i, ch := range o.Changes {
				o.Changes[i].Was = json.RawMessage(before[ledger.Key(ch.Key)])
			}
			return s.Object(o)
		default:
			return s.printShow(info, before)
		}
	})
	cmd.Flags().BoolVar(&undo, "undo", false, "print the change set that takes the commit back")
	return cmd
}

func (s *session) commitAt(ctx context.Context, text string) (*stelev1.CommitInfo, error) {
	at, err := s.at(ctx, text)
	if err != nil {
		return nil, err
	}
	req := &stelev1.GetCommitRequest{}
	switch p := at.GetPoint().(type) {
	case *stelev1.At_Revision:
		if p.Revision == 0 {
			return nil, failure.With(failure.NotFound, fmt.Errorf("@0 is the state before the first commit: there is nothing to show"))
		}
		req.Commit = &stelev1.GetCommitRequest_Revision{Revision: p.Revision}
	case *stelev1.At_Time:
		req.Commit = &stelev1.GetCommitRequest_Time{Time: p.Time}
	default:
		return nil, failure.Usagef("show takes a revision, e.g. @42")
	}
	resp, err := s.ledger.GetCommit(ctx, req)
	return resp.GetInfo(), err
}

// before reads the values that the commit's keys had in the revision before it.
func (s *session) before(ctx context.Context, c *stelev1.Commit) (map[ledger.Key]ledger.Value, error) {
	// So many values of the largest size fit an answer.
	const page = 30
	values := make(map[ledger.Key]ledger.Value)
	var keys []string
	for _, ch := range c.Changes {
		if ch.PreviousRevision > 0 {
			keys = append(keys, ch.Key)
		}
	}
	for len(keys) > 0 {
		n := min(page, len(keys))
		resp, err := s.config.BatchGet(ctx, &stelev1.BatchGetRequest{
			Keys: keys[:n], At: &stelev1.At{Point: &stelev1.At_Revision{Revision: c.Revision - 1}},
		})
		if err != nil {
			return nil, err
		}
		for _, e := range resp.Entries {
			values[ledger.Key(e.Key)] = ledger.Value(e.Value)
		}
		keys = keys[n:]
	}
	return values, nil
}

func (s *session) printUndo(c *stelev1.Commit, before map[ledger.Key]ledger.Value) error {
	done := &ledger.Commit{Tenant: ledger.Tenant(c.Tenant), Revision: ledger.Revision(c.Revision), Message: c.Message}
	for _, ch := range c.Changes {
		done.Changes = append(done.Changes, ledger.Change{Key: ledger.Key(ch.Key), Value: ledger.Value(ch.Value), Delete: ch.Delete})
	}
	f := changefile.Undo(done, before)
	if len(f.Changes) == 0 {
		return failure.With(failure.Conflict, fmt.Errorf("%s changed nothing: there is nothing to undo", s.name(c.Revision)))
	}
	return s.Write(f.Format())
}

func (s *session) printShow(info *stelev1.CommitInfo, before map[ledger.Key]ledger.Value) error {
	c := info.Commit
	rows := [][2]string{
		{"id", hex.EncodeToString(info.Id)},
		{"time", c.Time.AsTime().Format(time.RFC3339Nano)},
		{"author", output.Plain(c.Author)},
		{"message", output.Plain(c.Message)},
	}
	if in := c.Origin.GetImport(); in != nil {
		rows = append(rows, [2]string{"imported", clock(in.Recorded) + " by " + output.Plain(in.Importer)})
	}
	if err := s.Printf("%s\n", styleRevision(c.Tenant+ledger.Revision(c.Revision).String())); err != nil {
		return err
	}
	for _, row := range rows {
		if err := s.Printf("%s  %s\n", output.Faint.Render(fmt.Sprintf("%-8s", row[0])), row[1]); err != nil {
			return err
		}
	}
	for _, ch := range c.Changes {
		if err := s.Printf("  %s\n", changeLine(ch, before)); err != nil {
			return err
		}
	}
	return nil
}

func changeLine(ch *stelev1.Change, before map[ledger.Key]ledger.Value) string {
	old, was := before[ledger.Key(ch.Key)]
	switch {
	case ch.Delete && was:
		return fmt.Sprintf("%s %s, was %s", output.Bad.Render("-"), ch.Key, old)
	case ch.Delete:
		return fmt.Sprintf("%s %s, was not set", output.Bad.Render("-"), ch.Key)
	case was:
		return fmt.Sprintf("%s %s = %s, was %s", output.Revision.Render("~"), ch.Key, ch.Value, old)
	}
	return fmt.Sprintf("%s %s = %s", output.Good.Render("+"), ch.Key, ch.Value)
}
