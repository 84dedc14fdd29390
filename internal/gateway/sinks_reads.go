package gateway

import (
	"context"
	"slices"

	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
)

// keyed is a message about one key of one tenant.
type keyed interface {
	GetTenant() string
	GetKey() string
}

// filterReadable keeps messages about keys that the caller may read.
func filterReadable[T keyed](ctx context.Context, g *Gateway, told []T) ([]T, error) {
	sees, err := g.policy.Scope(policy.CallerOf(ctx), policy.ToRead)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(told, func(x T) bool { return !sees.Key(ledger.Key(x.GetKey())) }), nil
}

// recordPerTenant records the keys that an operator lists without acting for their tenants,
// for each tenant as its policy requires.
func recordPerTenant[T keyed](ctx context.Context, g *Gateway, method string, told []T) error {
	if policy.CallerOf(ctx).Tenant != "" {
		return nil // recorded as a read of that tenant's
	}
	keys := make(map[ledger.Tenant][]string)
	for _, x := range told {
		t := ledger.Tenant(x.GetTenant())
		keys[t] = append(keys[t], x.GetKey())
	}
	for t, of := range keys {
		if err := g.policy.Record(ctx, policy.CallerOf(ctx), policy.Methods[method], t, policy.Asked{Keys: of}, 0); err != nil {
			return err
		}
	}
	return nil
}
