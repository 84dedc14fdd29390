package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func logCommand(c *cli) *cobra.Command {
	var most int
	cmd := &cobra.Command{
		Use:     "log",
		Short:   "List commits, newest first",
		Example: `  stele log -n 100 -o json`,
		Args:    cobra.NoArgs,
	}
	cmd.RunE = c.connected(func(ctx context.Context, s *session, _ []string) error {
		var rows [][]string
		err := s.commits(ctx, most, s.Format == "text", func(info *stelev1.CommitInfo) error {
			if s.Format != "text" {
				return s.Object(commitObject(info))
			}
			ci := info.Commit
			rows = append(rows, []string{
				styleRevision(s.name(ci.Revision)), output.Faint.Render(clock(ci.Time)), output.Plain(ci.Author), signs(ci.Changes), output.Plain(ci.Message),
			})
			return nil
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		return s.Table([]string{"REVISION", "TIME", "AUTHOR", "CHANGES", "MESSAGE"}, rows, 4)
	})
	cmd.Flags().IntVarP(&most, "number", "n", 20, "how many at most; 0 for all")
	return cmd
}

// commits calls f for the newest commits, at most so many; 0 for all.
func (s *session) commits(ctx context.Context, most int, omitValues bool, f func(*stelev1.CommitInfo) error) error {
	const page = 1000
	req := &stelev1.ListCommitsRequest{PageSize: page, OmitValues: omitValues}
	for count := 0; ; {
		if most > 0 {
			req.PageSize = uint32(min(page, most-count))
		}
		resp, err := s.ledger.ListCommits(ctx, req)
		if err != nil {
			return err
		}
		for _, info := range resp.Commits {
			if err := f(info); err != nil {
				return err
			}
		}
		count += len(resp.Commits)
		if req.PageToken = resp.NextPageToken; req.PageToken == "" || most > 0 && count >= most {
			return nil
		}
	}
}

// signs counts what was set and deleted: +2 -1.
func signs(changes []*stelev1.Change) string {
	set, deleted := 0, 0
	for _, ch := range changes {
		if ch.Delete {
			deleted++
		} else {
			set++
		}
	}
	switch {
	case deleted == 0:
		return fmt.Sprintf("+%d", set)
	case set == 0:
		return fmt.Sprintf("-%d", deleted)
	}
	return fmt.Sprintf("+%d -%d", set, deleted)
}
