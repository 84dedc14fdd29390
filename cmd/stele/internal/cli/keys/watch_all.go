package keys

import (
	"context"
	"strconv"

	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/follow"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// watchAll prints the commits of all tenants after a position, or new ones only if from
// is empty.
func watchAll(ctx context.Context, s *session.Session, from string) error {
	cfg := follow.AllConfig{Client: s.Ledger, Gateways: s.Conn.Count(), Commit: func(c *stelev1.PlacedCommit) error { return printPlaced(s, c) }, Lost: reportLost}
	if from != "" {
		position, err := strconv.ParseUint(from, 10, 64)
		if err != nil {
			return failure.Usagef("--from: %q is not a position of the journal; give a number, for example 0 for the beginning", from)
		}
		cfg.After = &position
	}
	return follow.All(ctx, cfg)
}

func printPlaced(s *session.Session, placed *stelev1.PlacedCommit) error {
	if s.Format != output.Text {
		return render.WritePlaced(s.Printer, placed)
	}
	c := placed.Info.Commit
	if err := s.Printf("%s  %s  %-8s  %s  %s\n", output.Faint.Render(render.Clock(c.Time)), render.PlacedName(c), render.Role(c), output.Plain(c.Author), output.Subject(c.Message)); err != nil {
		return err
	}
	return render.WriteChanges(s.Printer, c.Changes)
}
