package review

import (
	"context"

	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Routing says which sinks get a key. Only operators can see the routes; for other users
// it is not known.
type Routing struct{ table *routes.Table }

// ReadRouting reads the routes.
func ReadRouting(ctx context.Context, v *page.View) Routing {
	resp, err := v.Sinks.GetRoutes(ctx, &stelev1.GetRoutesRequest{})
	if err != nil || resp.Routes == "" {
		return Routing{}
	}
	return ParseRouting(resp.Routes)
}

// ParseRouting reads a document of routes.
func ParseRouting(document string) Routing {
	table, err := routes.Parse([]byte(document))
	if err != nil {
		return Routing{}
	}
	return Routing{table}
}

// Known reports whether the user can see the routes.
func (r Routing) Known() bool { return r.table != nil }

// Wants reports whether a sink gets the key, as far as the routes are known.
func (r Routing) Wants(key, sink string) bool {
	return r.table == nil || r.table.Route(ledger.Key(key)).Wants(sink)
}
