package projector

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/routes"
	"github.com/stelehq/stele/ledger/secret"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Fit says which writes a sink would not take, from its settings alone: it asks nobody,
// and works where the sink cannot be reached.
type Fit struct {
	// Secrets is that of Limits.
	Secrets bool
	// Refuses is a *RefusedError for a write that the sink will never take as it is. What
	// only the sink itself knows, it does not say.
	Refuses func(Write) error
}

// FitKind makes the Fit of a kind's sinks. Of the settings, Name and JSON count.
type FitKind func(Settings) (Fit, error)

// Refusals finds what the sinks of a table would not take of a commit that is not made
// yet, with its secrets in the clear, in the order of its changes. Settings that cannot
// be read refuse everything.
func Refusals(kinds map[string]FitKind, table *routes.Table, c *ledger.Commit) []*stelev1.SinkRefusal {
	var out []*stelev1.SinkRefusal
	fits := make(map[string]Fit)
	for _, name := range slices.Sorted(maps.Keys(table.Sinks)) {
		s := table.Sinks[name]
		fit, err := Fit{}, fmt.Errorf("there is no kind %q", s.Kind)
		if kind := kinds[s.Kind]; kind != nil {
			fit, err = kind(Settings{Name: name, Epoch: c.Epoch, JSON: s.Settings})
		}
		if err != nil {
			fit.Refuses = func(Write) error { return Refuse("the sink cannot be opened: %v", err) }
		}
		fits[name] = fit
	}
	for i, ch := range c.Changes {
		route := table.Route(ch.Key)
		if route == nil {
			continue
		}
		for _, name := range route.Sinks {
			if err := fits[name].refuses(writeOf(c, i, route)); err != nil {
				out = append(out, &stelev1.SinkRefusal{Key: string(ch.Key), Sink: name, Kind: table.Sinks[name].Kind, Reason: err.Error()})
			}
		}
	}
	return out
}

// writeOf is a change as a sink gets it.
func writeOf(c *ledger.Commit, i int, route *routes.Route) Write {
	ch := c.Changes[i]
	return Write{
		Tenant: c.Tenant, Key: ch.Key, Value: ch.Value, Revision: c.Revision, Commit: c.ID, Author: c.Author, Message: c.Message, Time: c.Time,
		Previous: ch.Previous, Position: i, Route: route,
	}
}

func (f Fit) refuses(w Write) error {
	var told []ledger.Value
	if w.Route.Secret && !w.Deleted() {
		if f.Secrets && w.Route.Secure {
			told = append(told, w.Value)
		} else {
			w.Value = secret.Mask
		}
	}
	err := f.Refuses(w)
	var refused *RefusedError
	if !errors.As(err, &refused) {
		return nil
	}
	return withhold(refused, told)
}
