package schema

import (
	"context"
	"fmt"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// Value holds a value against the schemas that are in force for a key at a tenant's head.
// schemas is how many those are.
func (s *Source) Value(ctx context.Context, t ledger.Tenant, v *replica.View, k ledger.Key, value ledger.Value) (found []Violation, schemas int, err error) {
	own, platform, err := s.both(t, v)
	if err != nil {
		return nil, 0, err
	}
	table, _, err := s.routes.Table()
	if err != nil {
		return nil, 0, fmt.Errorf("find out which keys are secret: %w", err)
	}
	for _, set := range []*Set{platform, own} {
		if _, ok := set.For(k); ok {
			schemas++
			more, _, err := set.Check(ctx, k, value, table.Secret(k))
			if err != nil {
				return nil, 0, err
			}
			found = append(found, more...)
		}
	}
	return found, schemas, nil
}

// Candidate reads a candidate for a prefix's schema, and checks the existing values
// below it, as far as the viewer may read them. The error is an *InvalidError about the
// field document if it is not a valid schema. In the ledger's own tenant the values are
// from all tenants that the process holds.
func (s *Source) Candidate(ctx context.Context, viewer ledger.Viewer, t ledger.Tenant, v *replica.View, p ledger.Prefix, document ledger.Value) (Broken, error) {
	own, err := s.Of(t, v.Head().Revision, v)
	if err != nil {
		return Broken{}, err
	}
	var wrong report
	changed := []Document{{Prefix: p, Text: document}}
	next, seen := own.with(t, changed), own.seenBy(viewer).with(t, changed)
	if err := readable(&wrong, next, seen, changed, map[ledger.Prefix]string{p: "document"}); err != nil {
		return Broken{}, err
	}
	under := seen.touched([]ledger.Prefix{p})
	if t == ledger.System {
		return s.everywhere(ctx, viewer, next, under)
	}
	var b Broken
	return b, s.within(ctx, viewer, &b, t, false, under, next)
}

// Live checks the existing values under a prefix against the schemas in force, as far
// as the viewer may read them. In the ledger's own tenant the values are those of all
// tenants that the process holds.
func (s *Source) Live(ctx context.Context, viewer ledger.Viewer, t ledger.Tenant, v *replica.View, under ledger.Pattern) (b Broken, err error) {
	own, platform, err := s.both(t, v)
	if err != nil {
		return b, err
	}
	if t == ledger.System {
		return s.everywhere(ctx, viewer, platform, []ledger.Prefix{ledger.Prefix(under)})
	}
	return b, s.within(ctx, viewer, &b, t, false, []ledger.Prefix{ledger.Prefix(under)}, platform, own)
}

// both are a tenant's own schemas and the platform's; the ledger's own tenant has only
// the latter.
func (s *Source) both(t ledger.Tenant, v *replica.View) (own, platform *Set, err error) {
	if t != ledger.System {
		if own, err = s.Of(t, v.Head().Revision, v); err != nil {
			return nil, nil, err
		}
	}
	platform, err = s.Platform()
	return own, platform, err
}
