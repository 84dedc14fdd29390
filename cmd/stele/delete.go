package main

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/ledger"
)

func deleteCommand(c *cli) *cobra.Command {
	var w writeFlags
	cmd := &cobra.Command{
		Use:               "delete KEY...",
		Short:             "Delete keys, all together",
		Example:           `  stele delete tenantconfig/checkout/beta -m "everybody has it now"`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.keys,
	}
	cmd.RunE = c.connected(func(ctx context.Context, s *session, args []string) error {
		var cs ledger.ChangeSet
		for _, arg := range args {
			key, err := ledger.ParseKey(arg)
			if err != nil {
				return failure.With(failure.Invalid, err)
			}
			cs.Changes = append(cs.Changes, ledger.Change{Key: key, Delete: true})
		}
		if err := w.into(&cs); err != nil {
			return err
		}
		return s.commit(ctx, cmd, &cs)
	})
	w.add(cmd)
	return cmd
}
