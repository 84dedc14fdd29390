package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func tenantsCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "tenants",
		Short: "List tenants (operators only)",
		Long:  `List the tenants that have a commit, with their newest revision. It requires the operator role.`,
		Args:  cobra.NoArgs,
		RunE: c.connected(func(ctx context.Context, s *session, _ []string) error {
			tenants, err := s.tenants(ctx)
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
				rows = append(rows, []string{t.Tenant, styleRevision(ledger.Revision(t.Head).String())})
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

// tenants lists all tenants that have a commit.
func (s *session) tenants(ctx context.Context) ([]*stelev1.TenantHead, error) {
	var all []*stelev1.TenantHead
	req := &stelev1.ListTenantsRequest{PageSize: 10_000}
	for {
		resp, err := s.ledger.ListTenants(ctx, req)
		if err != nil {
			return nil, err
		}
		all = append(all, resp.Tenants...)
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			return all, nil
		}
	}
}

// absent is the error of a read that found nothing because the tenant has no commit:
// its name may be misspelt. It is nil if the tenant has one.
func (s *session) absent(ctx context.Context) error {
	head, err := s.ledger.GetHead(ctx, &stelev1.GetHeadRequest{})
	if err != nil || head.Snapshot.GetHead() > 0 {
		return nil // the read itself has been answered
	}
	err = failure.With(failure.NotFound, fmt.Errorf("tenant %s has no commits", s.tenant))
	tenants, listErr := s.tenants(ctx)
	if listErr != nil { // of a caller who may not list them
		return err
	}
	if len(tenants) == 0 {
		return nil // nor has any other
	}
	near := slices.MinFunc(tenants, func(a, b *stelev1.TenantHead) int {
		return cmp.Compare(distance(a.Tenant, string(s.tenant)), distance(b.Tenant, string(s.tenant)))
	})
	if distance(near.Tenant, string(s.tenant)) <= 2 {
		return failure.With(failure.NotFound, fmt.Errorf("tenant %s has no commits; did you mean %s?", s.tenant, near.Tenant))
	}
	return failure.Try(err, "stele tenants, to list those that have")
}

// nothingUnder is the error of a read of a prefix that found no key.
func (s *session) nothingUnder(ctx context.Context, prefix string) error {
	if err := s.absent(ctx); err != nil || prefix == "" {
		return err
	}
	return failure.With(failure.NotFound, fmt.Errorf("no key under %q is set", prefix))
}
