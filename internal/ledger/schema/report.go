package schema

import (
	"context"
	"fmt"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// Value validates a value against the schemas that are in force for a key at a tenant's head.
// schemas is how many those are.
func (s *Source) Value(ctx context.Context, t ledger.Tenant, v *replica.View, k ledger.Key, value ledger.Value) (found []Violation, schemas int, err error) {
	sets, err := s.All(t, v)
	if err != nil {
		return nil, 0, err
	}
	table, _, err := s.routes.Table()
	if err != nil {
		return nil, 0, fmt.Errorf("find out which keys are secret: %w", err)
	}
	for _, set := range sets {
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
	own, err := s.Of(t, v.Own())
	if err != nil {
		return Broken{}, err
	}
	var wrong ledger.InvalidError
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
	sets, err := s.All(t, v)
	if err != nil {
		return b, err
	}
	if t == ledger.System {
		return s.everywhere(ctx, viewer, sets[0], []ledger.Prefix{ledger.Prefix(under)})
	}
	return b, s.within(ctx, viewer, &b, t, false, []ledger.Prefix{ledger.Prefix(under)}, sets...)
}

// All are the platform's schemas, then the schemas of a tenant's bases, then its own. The ledger's
// own tenant has only the platform's.
func (s *Source) All(t ledger.Tenant, v *replica.View) ([]*Set, error) {
	platform, err := s.Platform()
	if err != nil || t == ledger.System {
		return []*Set{platform}, err
	}
	bases, err := s.BasesOf(v)
	if err != nil {
		return nil, err
	}
	own, err := s.Of(t, v.Own())
	return append([]*Set{platform}, append(bases, own)...), err
}
