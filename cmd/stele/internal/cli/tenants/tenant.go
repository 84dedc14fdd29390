// Package tenants has the commands for whole tenants.
package tenants

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func TenantCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tenant",
		Short: "Manage a tenant (operators only)",
	}
	cmd.AddCommand(shredCommand(c), resetClockCommand(c))
	return cmd
}

func shredCommand(c *session.Flags) *cobra.Command {
	var yes string
	cmd := &cobra.Command{
		Use:   "shred TENANT",
		Short: "Permanently destroy a tenant's secrets",
		Long: `Destroy the key that encrypts a tenant's secrets. Its present and past secrets
can never be read again, not even from a backup of the journal. All other
settings stay, and the history still verifies. A secret that is set later gets a
new key. Two commits in the tenant _system record who destroyed the key.

Copies in other places stay. Before you destroy the key, delete secrets that
sinks have copied; afterwards, delete the stream STELE-KEYS from backups
(docs/secrets.md).

The command asks you to type the tenant's name. --yes TENANT confirms without a
question.`,
		Example: `  stele tenant shred acme
  stele tenant shred acme --yes acme`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.RunE = c.Connected(func(_ context.Context, s *session.Session, args []string) error {
		t, err := ledger.ParseTenant(args[0])
		if err != nil {
			return failure.With(failure.Usage, err)
		}
		return shred(conn.AsTenant(cmd.Context(), t), s, t, yes)
	})
	cmd.Flags().StringVar(&yes, "yes", "", "the tenant's name, to confirm without a question")
	return cmd
}

func shred(ctx context.Context, s *session.Session, t ledger.Tenant, name string) (err error) {
	if name == "" {
		if !s.CanAsk() {
			return failure.Try(failure.Usagef("cannot ask for confirmation to shred %s: standard input is not a terminal", t), "--yes %s", t)
		}
		question := fmt.Sprintf("All secrets of %s, past and present, will be permanently unreadable. Type its name to continue: ", t)
		if name, err = session.Ask(ctx, question); err != nil {
			return err
		}
	}
	if name != string(t) {
		return failure.Usagef("%q is not %s: nothing was destroyed", name, t)
	}
	resp, err := s.Ledger.ShredTenant(ctx, &stelev1.ShredTenantRequest{Confirm: name})
	if err != nil {
		return err
	}
	if s.Format != output.Text {
		return s.Object(shredded{t, resp.Keys, resp.Revision})
	}
	return s.Printf("%s%s  the key of %s is destroyed (%s): none of its secrets can be read any more\n",
		render.Revision(string(ledger.System)), render.Revision(ledger.Revision(resp.Revision).String()), t, strings.Join(resp.Keys, ", "))
}

type shredded struct {
	Tenant ledger.Tenant `json:"tenant"`
	Keys   []string      `json:"keys"`
	// Revision of the ledger's own tenant that records it.
	Revision uint64 `json:"revision"`
}
