package gateway

import (
	"context"
	"fmt"

	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/conn"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Fallback reads a sink, for tenants that the gateway does not hold.
type Fallback interface {
	// Get returns the sink's entries of the keys, including deleted ones.
	Get(ctx context.Context, t ledger.Tenant, keys []ledger.Key) (map[ledger.Key]FallbackEntry, error)
}

// FallbackEntry is a sink's entry for a key.
type FallbackEntry struct {
	// Value is empty when the key was deleted.
	Value ledger.Value
	// Revision that set or deleted the key.
	Revision ledger.Revision
}

// fallsBack reports whether a call may be answered from a sink. The ledger's own
// settings are never in one.
func (g *Gateway) fallsBack(m *policy.Method, t ledger.Tenant) bool {
	return m.Fallback && g.cfg.Fallback != nil && !t.Reserved()
}

// fallback reads the keys from the sink. That one is not there counts only where the
// routes send it there: of any other the gateway knows nothing.
func (g *Gateway) fallback(ctx context.Context, req readRequest, keys []ledger.Key) ([]*stelev1.Entry, []string, *stelev1.Snapshot, error) {
	t, sink := policy.CallerOf(ctx).Tenant, g.cfg.FallbackSink
	atLeast := req.GetMinRevision()
	switch {
	case req.GetReveal():
		return nil, nil, nil, fmt.Errorf("%w: %s; %s has no secrets that could be revealed: ask another gateway", apierror.ErrNotServed, t, sink)
	case req.GetAt() != nil:
		return nil, nil, nil, fmt.Errorf("%w: %s; %s has no past: leave \"at\" out, or ask another gateway", apierror.ErrNotServed, t, sink)
	}
	redact, err := g.redaction.For(ctx, false)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, k := range keys {
		if !redact.Table.Route(k).Wants(sink) {
			return nil, nil, nil, fmt.Errorf("%w: %s; no route sends %s to %s: ask another gateway", apierror.ErrNotServed, t, k, sink)
		}
	}
	found, err := g.cfg.Fallback.Get(ctx, t, keys)
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, nil, ctx.Err()
		}
		g.cfg.Log.Error("the fallback does not answer", "sink", sink, "tenant", t, "error", err)
		return nil, nil, nil, fmt.Errorf("%w: this gateway does not hold %s, and %s does not answer", ledger.ErrUnavailable, t, sink)
	}
	var entries []*stelev1.Entry
	var missing []string
	size := 0
	for _, k := range keys {
		e := found[k]
		switch {
		case uint64(e.Revision) < atLeast:
			return nil, nil, nil, fmt.Errorf("%w: this gateway does not hold %s, and that %s has all of %s is not certain: ask another gateway", ledger.ErrUnavailable, t, sink, ledger.Revision(atLeast))
		case e.Value == "":
			missing = append(missing, string(k))
			continue
		}
		if size += len(e.Value) + len(k); size > conn.MaxMessage {
			return nil, nil, nil, apierror.ErrManyBytes
		}
		entries = append(entries, redact.Hidden(replica.Entry{Key: k, Value: e.Value, Revision: e.Revision}))
	}
	return entries, missing, &stelev1.Snapshot{Stale: true}, nil
}
