package session

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/sync/errgroup"
)

// Distance is the number of characters to insert, remove or replace to make a of b.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// ParseTenants reads a flag --tenants. A tenant that is named twice is returned once.
func ParseTenants(names []string) (tenants []ledger.Tenant, err error) {
	for _, name := range names {
		t, err := ledger.ParseTenant(name)
		if err != nil {
			return nil, failure.Usagef("--tenants: %w", err)
		}
		if !slices.Contains(tenants, t) {
			tenants = append(tenants, t)
		}
	}
	return tenants, nil
}

// Tenants lists all tenants that have a commit.
func (s *Session) Tenants(ctx context.Context) ([]*stelev1.TenantHead, error) {
	var all []*stelev1.TenantHead
	req := &stelev1.ListTenantsRequest{PageSize: 10_000}
	for {
		resp, err := s.Ledger.ListTenants(ctx, req)
		if err != nil {
			return nil, err
		}
		all = append(all, resp.Tenants...)
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			return all, nil
		}
	}
}

// EachTenant calls do for every tenant, some at a time, with a context that acts for it,
// and returns when all have returned. The first error cancels the other calls.
func EachTenant(ctx context.Context, tenants []ledger.Tenant, do func(ctx context.Context, i int) error) error {
	const atOnce = 8
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, t := range tenants {
		g.Go(func() error { return do(conn.AsTenant(ctx, t), i) })
	}
	return g.Wait()
}

// Absent is the error of a read that found nothing because the tenant has no commit:
// its name may be misspelled. It is nil if the tenant has one.
func (s *Session) Absent(ctx context.Context) error {
	head, err := s.Ledger.GetHead(ctx, &stelev1.GetHeadRequest{})
	if err != nil || head.Snapshot.GetHead() > 0 {
		return nil // the read itself has been answered
	}
	err = failure.With(failure.NotFound, fmt.Errorf("tenant %s has no commits", s.Tenant))
	tenants, listErr := s.Tenants(ctx)
	if listErr != nil { // the caller may not list them
		return err
	}
	if len(tenants) == 0 {
		return nil // nor has any other
	}
	near := slices.MinFunc(tenants, func(a, b *stelev1.TenantHead) int {
		return cmp.Compare(Distance(a.Tenant, string(s.Tenant)), Distance(b.Tenant, string(s.Tenant)))
	})
	if Distance(near.Tenant, string(s.Tenant)) <= 2 {
		return failure.With(failure.NotFound, fmt.Errorf("tenant %s has no commits; did you mean %s?", s.Tenant, near.Tenant))
	}
	return failure.Try(err, "stele tenants, to list those that have")
}

// NothingUnder is the error of a read of a prefix that found no key.
func (s *Session) NothingUnder(ctx context.Context, prefix string) error {
	if err := s.Absent(ctx); err != nil || prefix == "" {
		return err
	}
	return failure.With(failure.NotFound, fmt.Errorf("no key under %q is set", prefix))
}
