package history

import (
	"context"
	"encoding/hex"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func BlameCommand(c *session.Flags) *cobra.Command {
	var at string
	var noFollow bool
	cmd := &cobra.Command{
		Use:   "blame [PREFIX]",
		Short: "Show who last set each key, when and why",
		Long: `Show who last set each key, when and why. For a key that was copied or renamed,
it shows who set the value of the old key.`,
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
		prefix, found, taken := session.FirstArg(args), false, false
		var rows [][]string
		err = blame(ctx, s, &stelev1.BlameRequest{Prefix: prefix, At: point, PageSize: 10_000}, func(e *stelev1.BlameEntry) error {
			found = true
			if s.Format != "text" {
				return s.Object(blamedObject(e))
			}
			set := e.Source
			if set == nil || noFollow {
				set = &stelev1.CopySource{Revision: e.Revision, Time: e.Time, Author: e.Author, Message: e.Message}
			}
			from := set.Key
			if p := e.Origin.GetPromotion(); p != nil && from == "" {
				from = p.Tenant + ledger.Revision(p.Revision).String()
			}
			taken = taken || from != ""
			rows = append(rows, []string{
				e.Key, render.SetBy(set.Revision, e.Base), output.Faint.Render(render.Clock(set.Time)), output.Plain(set.Author), output.Subject(set.Message), from,
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
		header := []string{"KEY", "REVISION", "TIME", "AUTHOR", "MESSAGE", "FROM"}
		if !taken {
			header = header[:5]
			for i := range rows {
				rows[i] = rows[i][:5]
			}
		}
		return s.Table(header, rows, 4)
	})
	cmd.Flags().BoolVar(&noFollow, "no-follow", false, "show who copied or renamed a key instead of who set its value")
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
	// Source is the commit that set the value before it was copied or renamed.
	Source *copySource `json:"source,omitempty"`
	render.Origins
}

type copySource struct {
	Key      string `json:"key"`
	Revision uint64 `json:"revision"`
	ID       string `json:"id"`
	Time     string `json:"time"`
	Author   string `json:"author"`
	Message  string `json:"message"`
}

func blamedObject(e *stelev1.BlameEntry) blamed {
	o := blamed{Key: e.Key, Revision: e.Revision, ID: hex.EncodeToString(e.CommitId), Time: render.RFC3339(e.Time), Author: e.Author, Message: e.Message, Base: render.BaseObject(e.Base), Origins: render.OriginObjects(e.Origin)}
	if c := e.Source; c != nil {
		o.Source = &copySource{c.Key, c.Revision, hex.EncodeToString(c.CommitId), render.RFC3339(c.Time), c.Author, c.Message}
	}
	return o
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
