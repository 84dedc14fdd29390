package tenants

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func TenantsCommand(c *session.Flags) *cobra.Command {
	return &cobra.Command{
		Use:   "tenants",
		Short: "List tenants (operators only)",
		Long: `List the tenants that have a commit, with their newest revision and their bases.
This requires the operator role.`,
		Args: cobra.NoArgs,
		RunE: c.Connected(func(ctx context.Context, s *session.Session, _ []string) error {
			tenants, err := s.Tenants(ctx)
			if err != nil {
				return err
			}
			var rows [][]string
			based := false
			for _, t := range tenants {
				if s.Format != output.Text {
					if err := s.Object(objectOf(t)); err != nil {
						return err
					}
					continue
				}
				var bases []string
				for _, b := range t.Bases {
					bases = append(bases, b.Tenant+ledger.Revision(b.Revision).String())
				}
				based = based || len(bases) > 0
				rows = append(rows, []string{t.Tenant, render.Revision(ledger.Revision(t.Head).String()), strings.Join(bases, ", ")})
			}
			if len(rows) == 0 {
				return nil
			}
			header := []string{"TENANT", "HEAD", "BASES"}
			if !based {
				header = header[:2]
				for i := range rows {
					rows[i] = rows[i][:2]
				}
			}
			return s.Table(header, rows, len(header)-1)
		}),
	}
}

// tenantObject is a tenant, for programs.
type tenantObject struct {
	Tenant string `json:"tenant"`
	Head   uint64 `json:"head"`
	Bases  []base `json:"bases,omitempty"`
}

type base struct {
	Base     string `json:"base"`
	Revision uint64 `json:"revision"`
	Follow   bool   `json:"follow"`
}

func objectOf(t *stelev1.TenantHead) tenantObject {
	o := tenantObject{Tenant: t.Tenant, Head: t.Head}
	for _, b := range t.Bases {
		o.Bases = append(o.Bases, base{b.Tenant, b.Revision, b.Follow})
	}
	return o
}
