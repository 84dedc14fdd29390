package keys

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func ListCommand(c *session.Flags) *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use:   "list [PREFIX]",
		Short: "List keys and values",
		Long: `List the keys under a prefix: "a/b" is the key a/b and all keys below it, "a/b/"
only those below it, and "a/b*" all keys that begin with these characters. The
exit code is 3 if no key is set there.`,
		Example: `  stele list tenantconfig/checkout/
  stele list --at @2025-03-04T08:00Z`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: c.CompleteKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		point, err := s.At(ctx, at)
		if err != nil {
			return err
		}
		req := &stelev1.ListRequest{Prefix: session.FirstArg(args), At: point, PageSize: session.FirstPage}
		if s.Format != "text" {
			found, err := objects(ctx, s, req, func(e *stelev1.Entry) error { return s.Object(render.EntryObject(e)) })
			if err == nil && !found {
				err = s.NothingUnder(ctx, req.Prefix)
			}
			return err
		}
		var table *output.Table
		err = s.Entries(ctx, req, func(es []*stelev1.Entry) error {
			rows := entryRows(es)
			if table == nil && len(rows) > 0 {
				table = s.NewTable(entryHeader, rows, 2)
			}
			if table == nil {
				return nil
			}
			return table.Write(rows)
		})
		if err == nil && table == nil {
			return s.NothingUnder(ctx, req.Prefix)
		}
		return err
	})
	cmd.Flags().StringVar(&at, "at", "", "revision or time to read")
	return cmd
}

var entryHeader = []string{"KEY", "REVISION", "VALUE"}

// entryTable prints entries as a table.
func entryTable(s *output.Printer, entries []*stelev1.Entry) error {
	return s.Table(entryHeader, entryRows(entries), 2)
}

func entryRows(entries []*stelev1.Entry) [][]string {
	rows := make([][]string, len(entries))
	for i, e := range entries {
		rows[i] = []string{e.Key, render.SetBy(e.Revision, e.Base), e.Value}
	}
	return rows
}

// objects prints the entries for programs, and reports whether there are any.
func objects(ctx context.Context, s *session.Session, req *stelev1.ListRequest, print func(*stelev1.Entry) error) (found bool, err error) {
	err = s.Entries(ctx, req, func(es []*stelev1.Entry) error {
		for _, e := range es {
			found = true
			if err := print(e); err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}
