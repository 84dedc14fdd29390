package tenants

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
)

func TenantsCommand(c *session.Flags) *cobra.Command {
	return &cobra.Command{
		Use:   "tenants",
		Short: "List tenants (operators only)",
		Long:  `List the tenants that have a commit, with their newest revision. It requires the operator role.`,
		Args:  cobra.NoArgs,
		RunE: c.Connected(func(ctx context.Context, s *session.Session, _ []string) error {
			tenants, err := s.Tenants(ctx)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, t := range tenants {
				if s.Format != output.Text {
					if err := s.Object(tenantObject{t.Tenant, t.Head}); err != nil {
						return err
					}
					continue
				}
				rows = append(rows, []string{t.Tenant, render.Revision(ledger.Revision(t.Head).String())})
			}
			if len(rows) == 0 {
				return nil
			}
			return s.Table([]string{"TENANT", "HEAD"}, rows, -1)
		}),
	}
}

// tenantObject is a tenant, for programs.
type tenantObject struct {
	Tenant string `json:"tenant"`
	Head   uint64 `json:"head"`
}
