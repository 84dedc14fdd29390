package keys

import (
	"context"
	"errors"

	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/console/review"
	"github.com/stelehq/stele/internal/gateway/task"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// sinkOfKey is how far a sink is with a key.
type sinkOfKey struct {
	*stelev1.SinkStatus
	// routed: the key's route names the sink; false if the user may not see the routes.
	routed bool
	parked *stelev1.Parked // nil when it is not
	drift  *stelev1.Drift  // nil when the sink was not found to differ
}

// has reports whether the sink has everything up to a revision.
func (s sinkOfKey) has(revision uint64) bool { return s.Position >= revision }

// maxAsked is how many sinks are asked whether they have parked a key, or whether it has
// drifted there.
const maxAsked = 3

// sinksOf returns the progress of the sinks: those in the key's route, or all of them
// if the user may not see the routes. A page is still correct without them, so an error
// leaves them out.
func sinksOf(ctx context.Context, v *page.View, key string) []sinkOfKey {
	sinks, err := readSinks(ctx, v, key)
	if bug := new(task.PanicError); errors.As(err, &bug) {
		v.Log.Error("the sinks of a key cannot be shown", "tenant", v.Tenant, "key", key, "error", bug)
	}
	return sinks
}

func readSinks(ctx context.Context, v *page.View, key string) ([]sinkOfKey, error) {
	var list *stelev1.ListSinksResponse
	var routing review.Routing
	err := page.Together(ctx, func(ctx context.Context) (err error) {
		list, err = v.Sinks.ListSinks(ctx, &stelev1.ListSinksRequest{})
		return err
	}, func(ctx context.Context) error {
		routing = review.ReadRouting(ctx, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []sinkOfKey
	for _, s := range list.Sinks {
		if routing.Wants(key, s.Name) {
			out = append(out, sinkOfKey{SinkStatus: s, routed: routing.Known()})
		}
	}
	group, ctx := task.WithContext(ctx)
	asked := 0
	for i := range out {
		if s := &out[i]; s.Parked+s.Drifted > 0 && asked < maxAsked {
			asked++
			group.Go(func() error { s.ask(ctx, v, key); return nil })
		}
	}
	return out, group.Wait()
}

// ask asks the sink for the parked key and its drift. An answer that fails stays
// empty.
func (s *sinkOfKey) ask(ctx context.Context, v *page.View, key string) {
	if s.Parked > 0 {
		list, _ := v.Sinks.ListParked(ctx, &stelev1.ListParkedRequest{Sink: s.Name})
		for _, p := range list.GetParked() {
			if p.Key == key && p.Tenant == string(v.Tenant) {
				s.parked = p
			}
		}
	}
	if s.Drifted > 0 {
		list, _ := v.Sinks.ListDrift(ctx, &stelev1.ListDriftRequest{Sink: s.Name})
		for _, d := range list.GetDrift() {
			if d.Key == key && d.Tenant == string(v.Tenant) && remains(d) {
				s.drift = d
			}
		}
	}
}

// remains reports whether drift was only reported: the sink still differs.
func remains(d *stelev1.Drift) bool {
	return d.Failure != "" || d.Action == stelev1.Drift_ACTION_REPORTED || d.Action == stelev1.Drift_ACTION_KEPT
}

// refreshInterval is how often the key's page asks for its sinks again: often while one
// of them is behind.
func refreshInterval(sinks []sinkOfKey, revision uint64) string {
	for _, s := range sinks {
		if !s.has(revision) {
			return "every 1s"
		}
	}
	return "every 10s"
}
