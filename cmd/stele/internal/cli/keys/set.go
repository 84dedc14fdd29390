package keys

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/argvalue"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
)

func SetCommand(c *session.Flags) *cobra.Command {
	var w session.WriteFlags
	var asString, asJSON bool
	cmd := &cobra.Command{
		Use:   "set KEY VALUE [KEY VALUE...]",
		Short: "Set keys in one commit",
		Long: `Set keys in one commit: all of them, or none.

A VALUE that is valid JSON is used as JSON, any other text as a string. @FILE
reads a file and - reads standard input, byte for byte: "stele get --raw" prints
the same bytes of a string. Write text that begins with @ as JSON, '"@..."'.
After "--" a value can begin with "-".

set warns if text looks like JSON but is not valid, and if a string replaces a
value of another type. Nothing is written if all keys already have these values.`,
		Example: `  stele set tenantconfig/checkout/timeout_ms 3000 -m "slow bank"
  stele set tenantconfig/checkout/hosts '["a","b"]' tenantconfig/beta true
  stele set --string tenantconfig/checkout/version 1.0
  stele set paramconfig/tls/key @key.pem
  kubectl get cm web -o json | stele set tenantconfig/web -
  stele set --expect tenantconfig/timeout_ms=@41 tenantconfig/timeout_ms 3000`,
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
			return c.CompleteKey(cmd, args, toComplete)
		},
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		var cs ledger.ChangeSet
		values := argvalue.Reader{String: asString, JSON: asJSON, Stdin: os.Stdin}
		for i := 0; i < len(args); i += 2 {
			key, err := ledger.ParseKey(args[i])
			if err != nil {
				return failure.With(failure.Invalid, err)
			}
			values.Warn = func(message string) { output.Warn(string(key) + ": " + message) }
			value, err := values.Value(args[i+1])
			if err != nil {
				return failure.With(failure.Invalid, fmt.Errorf("%s: %w", key, err))
			}
			cs.Changes = append(cs.Changes, ledger.Change{Key: key, Value: value})
		}
		if err := w.Into(&cs); err != nil {
			return err
		}
		return warnAndCommit(ctx, s, cmd, &cs, !asString)
	})
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		err = cmd.Root().FlagErrorFunc()(cmd, err)
		return fmt.Errorf("%w: write \"--\" before values that begin with \"-\"", err)
	})
	w.Add(cmd)
	cmd.Flags().BoolVar(&asString, "string", false, "take all values as strings, without a warning")
	cmd.Flags().BoolVar(&asJSON, "json", false, "refuse values that are not JSON")
	return cmd
}
