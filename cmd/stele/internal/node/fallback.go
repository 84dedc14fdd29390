package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/dynamodb"
)

// fallback reads a sink for the gateway, of the settings that the routes have for it.
type fallback struct {
	sink         string
	destinations projector.Destinations
	routes       *routes.Source
	replica      *replica.Replica
	log          *slog.Logger

	mu     sync.Mutex       // guards the fields below
	reader *dynamodb.Reader // nil until it is first needed
	opened string           // the settings that it has
}

// open returns a reader that has the settings of now.
func (f *fallback) open(ctx context.Context) (*dynamodb.Reader, error) {
	table, _, err := f.routes.Table()
	if err != nil {
		return nil, err
	}
	spec, ok := table.Sinks[f.sink]
	if !ok || spec.Kind != "dynamodb" {
		return nil, fmt.Errorf("the routes name no sink %s of the kind dynamodb: only such can be read instead of a ledger", f.sink)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reader != nil && f.opened == string(spec.Settings) {
		return f.reader, nil
	}
	r, err := dynamodb.OpenReader(ctx, projector.Settings{
		Name: f.sink, Epoch: f.replica.Epoch(), JSON: spec.Settings, Destinations: f.destinations, Local: f.destinations.Owns(spec), Log: f.log,
	})
	if err != nil {
		return nil, err
	}
	if f.reader != nil {
		f.reader.Close() // calls under way end as they would
	}
	f.reader, f.opened = r, string(spec.Settings)
	return r, nil
}

// close must be called after the last call.
func (f *fallback) close() {
	if f.reader != nil {
		f.reader.Close()
	}
}

func (f *fallback) Get(ctx context.Context, t ledger.Tenant, keys []ledger.Key) (map[ledger.Key]gateway.FallbackEntry, error) {
	r, err := f.open(ctx)
	if err != nil {
		return nil, err
	}
	items, err := r.Get(ctx, t, keys)
	if err != nil {
		return nil, err
	}
	entries := make(map[ledger.Key]gateway.FallbackEntry, len(items))
	for k, item := range items {
		entries[k] = gateway.FallbackEntry{Value: item.Value, Revision: item.Revision}
	}
	return entries, nil
}
