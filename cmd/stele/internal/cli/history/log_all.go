package history

import (
	"context"
	"slices"

	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// logAll prints the commits of all tenants that the flags select, newest first unless they are
// reversed.
func logAll(ctx context.Context, s *session.Session, l logFlags) error {
	req := &stelev1.ListAllCommitsRequest{Author: l.author, Grep: l.grep, OmitValues: s.Format == output.Text}
	var err error
	if req.Since, err = session.TimeFlag("since", l.since); err != nil {
		return err
	}
	if req.Until, err = session.TimeFlag("until", l.until); err != nil {
		return err
	}
	var rows [][]string
	print := func(placed *stelev1.PlacedCommit) error {
		if s.Format != output.Text {
			return render.WritePlaced(s.Printer, placed)
		}
		c := placed.Info.Commit
		rows = append(rows, []string{output.Faint.Render(render.When(placed.Info)), render.PlacedName(c), render.Role(c), output.Plain(c.Author), output.Subject(c.Message)})
		return nil
	}
	if l.reverse {
		var all []*stelev1.PlacedCommit
		err = s.AllCommits(ctx, req, l.most, func(placed *stelev1.PlacedCommit) error {
			all = append(all, placed)
			return nil
		})
		for _, placed := range slices.Backward(all) {
			if err == nil {
				err = print(placed)
			}
		}
	} else {
		err = s.AllCommits(ctx, req, l.most, print)
	}
	if err != nil || len(rows) == 0 {
		return err
	}
	return s.Table([]string{"TIME", "COMMIT", "ROLE", "AUTHOR", "MESSAGE"}, rows, 4)
}
