package keys

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func MoveCommand(c *session.Flags) *cobra.Command {
	var w session.WriteFlags
	cmd := &cobra.Command{
		Use:   "mv KEY NEW",
		Short: "Rename a key in one commit",
		Long: `Rename a key: one commit sets NEW to the value of KEY and deletes KEY. It is refused if
NEW is set, or if KEY changes meanwhile. Secrets are not moved, because their value is
not read.`,
		Example:           `  stele mv tenantconfig/checkout/timeout tenantconfig/checkout/timeout_ms`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: c.CompleteKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		from, err := ledger.ParseKey(args[0])
		if err != nil {
			return failure.With(failure.Invalid, err)
		}
		to, err := ledger.ParseKey(args[1])
		if err != nil {
			return failure.With(failure.Invalid, err)
		}
		if from == to {
			return failure.Usagef("KEY and NEW are both %s", from)
		}
		got, err := s.Config.Get(ctx, &stelev1.GetRequest{Key: string(from)})
		if err != nil {
			return err
		}
		if got.Entry.Secret {
			return failure.Try(failure.With(failure.Invalid, fmt.Errorf("%s is a secret, and mv does not read secrets", from)), "stele get %s --reveal --raw | stele set %s -, then stele delete %s", from, to, from)
		}
		cs := ledger.ChangeSet{
			Message: fmt.Sprintf("Rename %s to %s", from, to),
			Changes: []ledger.Change{{Key: to, Value: ledger.Value(got.Entry.Value)}, {Key: from, Delete: true}},
			Preconditions: []ledger.Precondition{
				{Key: to},
				{Key: from, Revision: ledger.Revision(got.Entry.Revision), ID: got.CommitId},
			},
		}
		if err := w.Into(&cs); err != nil {
			return err
		}
		warnOf(ctx, s, &cs, false)
		return s.Commit(ctx, cmd, &cs)
	})
	w.Add(cmd)
	return cmd
}
