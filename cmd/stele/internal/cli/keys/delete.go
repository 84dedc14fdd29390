package keys

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
)

func DeleteCommand(c *session.Flags) *cobra.Command {
	var w session.WriteFlags
	cmd := &cobra.Command{
		Use:               "delete KEY...",
		Short:             "Delete keys in one commit",
		Example:           `  stele delete tenantconfig/checkout/beta -m "enabled for all tenants"`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.CompleteKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		var cs ledger.ChangeSet
		for _, arg := range args {
			key, err := ledger.ParseKey(arg)
			if err != nil && strings.HasSuffix(arg, "/") {
				err = failure.With(failure.Invalid, fmt.Errorf("%q is a prefix, and delete deletes keys", arg))
				return failure.Try(err, "stele rollback --to @0 %s, which deletes the keys below it", output.ShellQuote(arg))
			}
			if err != nil {
				return failure.With(failure.Invalid, err)
			}
			cs.Changes = append(cs.Changes, ledger.Change{Key: key, Delete: true})
		}
		if err := w.Into(&cs); err != nil {
			return err
		}
		return s.Commit(ctx, cmd, &cs)
	})
	w.Add(cmd)
	return cmd
}
