package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/migrate"
	"github.com/stelehq/stele/ledger"
)

func setCommand(c *cli) *cobra.Command {
	var w writeFlags
	var asString, asJSON bool
	cmd := &cobra.Command{
		Use:   "set KEY VALUE [KEY VALUE...]",
		Short: "Set keys, all together",
		Long: `Set keys, all together or not at all.

A VALUE that is JSON is taken as JSON, anything else as a string. After "--" a
value may begin with "-".`,
		Example: `  stele set tenantconfig/checkout/timeout_ms 3000 -m "slow bank"
  stele set tenantconfig/checkout/hosts '["a","b"]' tenantconfig/checkout/beta true
  stele set --string tenantconfig/checkout/version 1.0
  stele set --expect tenantconfig/checkout/timeout_ms=@41 tenantconfig/checkout/timeout_ms 3000`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 || len(args)%2 != 0:
				return fmt.Errorf("set takes pairs: KEY VALUE [KEY VALUE...]")
			case asString && asJSON:
				return fmt.Errorf("a value is one of --string and --json")
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args)%2 == 1 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return c.keys(cmd, args, toComplete)
		},
	}
	cmd.RunE = c.connected(func(ctx context.Context, s *session, args []string) error {
		var cs ledger.ChangeSet
		for i := 0; i < len(args); i += 2 {
			key, err := ledger.ParseKey(args[i])
			if err != nil {
				return failure.With(failure.Invalid, err)
			}
			value, err := readValue(args[i+1], asString, asJSON)
			if err != nil {
				return failure.With(failure.Invalid, fmt.Errorf("%s: %w", key, err))
			}
			cs.Changes = append(cs.Changes, ledger.Change{Key: key, Value: value})
		}
		if err := w.into(&cs); err != nil {
			return err
		}
		return s.commit(ctx, cmd, &cs)
	})
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w: write \"--\" before values that begin with \"-\"", err)
	})
	w.add(cmd)
	cmd.Flags().BoolVar(&asString, "string", false, "take values as strings")
	cmd.Flags().BoolVar(&asJSON, "json", false, "refuse values that are not JSON")
	return cmd
}

func readValue(text string, asString, asJSON bool) (ledger.Value, error) {
	switch {
	case asString:
		return migrate.String(text)
	case asJSON:
		return ledger.ParseValue(text)
	}
	return migrate.Value(text)
}
