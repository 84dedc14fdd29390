package history

import (
	"context"
	"encoding/hex"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func BlameCommand(c *session.Flags) *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use:   "blame [PREFIX]",
		Short: "Show who last set each key, when and why",
		Example: `  stele blame tenantconfig/checkout/
  stele blame --at @2025-03-04T08:00Z`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: c.CompleteKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		point, err := s.At(ctx, at)
		if err != nil {
			return err
		}
		prefix, found := session.FirstArg(args), false
		var rows [][]string
		err = blame(ctx, s, &stelev1.BlameRequest{Prefix: prefix, At: point, PageSize: 10_000}, func(e *stelev1.BlameEntry) error {
			found = true
			if s.Format != "text" {
				return s.Object(blamed{e.Key, e.Revision, hex.EncodeToString(e.CommitId), render.RFC3339(e.Time), e.Author, e.Message, render.BaseObject(e.Base)})
			}
			rows = append(rows, []string{
				e.Key, render.SetBy(e.Revision, e.Base), output.Faint.Render(render.Clock(e.Time)), output.Plain(e.Author), output.Subject(e.Message),
			})
			return nil
		})
		switch {
		case err != nil:
			return err
		case !found:
			return s.NothingUnder(ctx, prefix)
		case len(rows) == 0:
			return nil
		}
		return s.Table([]string{"KEY", "REVISION", "TIME", "AUTHOR", "MESSAGE"}, rows, 4)
	})
	cmd.Flags().StringVar(&at, "at", "", "revision or time to read")
	return cmd
}

// blamed is a key and the commit that last set it, for programs.
type blamed struct {
	Key      string `json:"key"`
	Revision uint64 `json:"revision"`
	ID       string `json:"id"`
	Time     string `json:"time"`
	Author   string `json:"author"`
	Message  string `json:"message"`
	// Base is where the value is inherited from; the commit is then the base's.
	Base *render.Base `json:"base,omitempty"`
}

// blame calls f for every key that is set.
func blame(ctx context.Context, s *session.Session, req *stelev1.BlameRequest, f func(*stelev1.BlameEntry) error) error {
	for {
		resp, err := s.Ledger.Blame(ctx, req)
		if err != nil {
			return err
		}
		for _, e := range resp.Entries {
			if err := f(e); err != nil {
				return err
			}
		}
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			return nil
		}
	}
}
