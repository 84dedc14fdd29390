package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/follow"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// placedCommit is a commit of any tenant as -o json and -o yaml print it.
type placedCommit struct {
	Position uint64 `json:"position"`
	Tenant   string `json:"tenant"`
	commit
}

func (s *session) placedObject(c *stelev1.PlacedCommit) error {
	return s.Object(placedCommit{c.Position, c.Info.Commit.Tenant, commitObject(c.Info)})
}

// placedName is a commit's tenant and revision, for example acme@42.
func placedName(c *stelev1.Commit) string {
	return styleRevision(c.Tenant + ledger.Revision(c.Revision).String())
}

// logAll prints the commits of all tenants that the flags select, newest first.
func (s *session) logAll(ctx context.Context, l logFlags) error {
	req := &stelev1.ListAllCommitsRequest{Author: l.author, Grep: l.grep, OmitValues: s.Format == output.Text}
	var err error
	if req.Since, err = timeFlag("since", l.since); err != nil {
		return err
	}
	if req.Until, err = timeFlag("until", l.until); err != nil {
		return err
	}
	var rows [][]string
	err = s.allCommits(ctx, req, l.most, func(placed *stelev1.PlacedCommit) error {
		if s.Format != output.Text {
			return s.placedObject(placed)
		}
		c := placed.Info.Commit
		rows = append(rows, []string{output.Faint.Render(clock(c.Time)), placedName(c), authorOf(c), output.Subject(c.Message)})
		return nil
	})
	if err != nil || len(rows) == 0 {
		return err
	}
	return s.Table([]string{"TIME", "COMMIT", "AUTHOR", "MESSAGE"}, rows, 3)
}

// allCommits calls f for the commits that the request selects, newest first, at most so
// many; 0 for all.
func (s *session) allCommits(ctx context.Context, req *stelev1.ListAllCommitsRequest, most int, f func(*stelev1.PlacedCommit) error) error {
	const page = 1000
	for count := 0; ; {
		req.PageSize = page
		if most > 0 {
			req.PageSize = uint32(min(page, most-count))
		}
		resp, err := s.ledger.ListAllCommits(ctx, req)
		if err != nil {
			return err
		}
		for _, c := range resp.Commits {
			if err := f(c); err != nil {
				return err
			}
		}
		count += len(resp.Commits)
		if req.PageToken = resp.NextPageToken; req.PageToken == "" || most > 0 && count >= most {
			return nil
		}
	}
}

// watchAll prints the commits of all tenants after a position, or new ones only if from
// is empty.
func (s *session) watchAll(ctx context.Context, from string) error {
	cfg := follow.AllConfig{Client: s.ledger, Commit: s.printPlaced, Lost: reportLost}
	if from != "" {
		position, err := strconv.ParseUint(from, 10, 64)
		if err != nil {
			return failure.Usagef("--from: %q is not a position of the journal; give a number, for example 0 for the beginning", from)
		}
		cfg.After = &position
	}
	return follow.All(ctx, cfg)
}

func (s *session) printPlaced(placed *stelev1.PlacedCommit) error {
	if s.Format != output.Text {
		return s.placedObject(placed)
	}
	c := placed.Info.Commit
	if err := s.Printf("%s  %s  %s  %s\n", output.Faint.Render(clock(c.Time)), placedName(c), authorOf(c), output.Subject(c.Message)); err != nil {
		return err
	}
	return s.printWatched(c.Changes)
}

func reportLost(err error, after *uint64) {
	resumes := ""
	if after != nil {
		resumes = fmt.Sprintf(" after position %d", *after)
	}
	fmt.Fprintf(os.Stderr, "%s: resuming%s\n", failure.Message(err), resumes)
}
