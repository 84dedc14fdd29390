package main

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func listCommand(c *cli) *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use:   "list [PREFIX]",
		Short: "List the keys that begin with a prefix",
		Example: `  stele list tenantconfig/checkout/
  stele list --at @2025-03-04T08:00Z`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: c.keys,
	}
	cmd.RunE = c.connected(func(ctx context.Context, s *session, args []string) error {
		point, err := s.at(ctx, at)
		if err != nil {
			return err
		}
		req := &stelev1.ListRequest{Prefix: first(args), At: point, PageSize: 10_000}
		if s.Format != "text" {
			return s.objects(ctx, req)
		}
		var rows [][]string
		err = s.entries(ctx, req, func(es []*stelev1.Entry) error {
			for _, e := range es {
				rows = append(rows, []string{e.Key, styleRevision(ledger.Revision(e.Revision).String()), e.Value})
			}
			return nil
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		return s.Table([]string{"KEY", "REVISION", "VALUE"}, rows, 2)
	})
	cmd.Flags().StringVar(&at, "at", "", "revision or time to read")
	return cmd
}

// objects prints the entries for programs.
func (s *session) objects(ctx context.Context, req *stelev1.ListRequest) error {
	return s.entries(ctx, req, func(es []*stelev1.Entry) error {
		for _, e := range es {
			if err := s.Object(entryObject(e)); err != nil {
				return err
			}
		}
		return nil
	})
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
