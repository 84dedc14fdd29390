package keys

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func ExportCommand(c *session.Flags) *cobra.Command {
	var at string
	var reveal bool
	cmd := &cobra.Command{
		Use:   "export [PREFIX]",
		Short: "Print every key with its value as it is stored",
		Long: `Print every key under a prefix, sorted, as one JSON object per line (or as YAML
documents with -o yaml): {"key":...,"revision":N,"value":...}. All keys are read
at one revision. "stele apply -f" and "stele import" read the output. "***"
stands for a secret, which is marked "secret":true; --reveal prints it. Values
that are inherited from bases are printed like the tenant's own, and the list of
bases is left out.`,
		Example: `  stele export > acme.jsonl
  stele export tenantconfig/ --at @2025-03-04T08:00Z`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: c.CompleteKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		point, err := s.At(ctx, at)
		if err != nil {
			return err
		}
		flush := s.Buffer()
		found, err := objects(ctx, s, &stelev1.ListRequest{Prefix: session.FirstArg(args), At: point, PageSize: 10_000, Reveal: reveal}, func(e *stelev1.Entry) error {
			if e.Key == string(ledger.BasesKey) {
				return nil // what it gives is among the values
			}
			e.Base = nil
			return s.Object(render.EntryObject(e))
		})
		if err == nil && !found {
			err = s.NothingUnder(ctx, session.FirstArg(args))
		}
		return errors.Join(err, flush())
	})
	cmd.Flags().BoolVar(&reveal, "reveal", false, "print secrets; requires the reveal permission and is recorded")
	cmd.Flags().StringVar(&at, "at", "", "revision or time to read")
	return cmd
}
