package projector

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/secret"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Fit reports which writes a sink would reject, from its settings alone: it makes no
// call, and works while the sink is unreachable.
type Fit struct {
	// Secrets is that of Limits.
	Secrets bool
	// Refuses is a *RefusedError for a write that the sink will never take as it is. What
	// only the sink itself knows, it does not say.
	Refuses func(Write) error
	// InTheWay, if set, is why a key cannot exist next to another one above or below
	// it, as a is above a/b. The existing one blocks the other, and of two new ones the
	// shorter is accepted.
	InTheWay func(key, other ledger.Key) error
}

// Live yields the keys under a prefix that are set before a commit, in their order,
// until yield returns false.
type Live func(prefix ledger.Prefix, yield func(ledger.Key) bool) error

// FitKind makes the Fit of a kind's sinks. Of the settings, Name, Epoch and JSON count. It
// refuses settings that the Kind refuses without a call.
type FitKind func(Settings) (Fit, error)

// CheckSinks refuses a table with a sink of an unknown kind or with invalid settings. It
// makes the checks that need no call: whether a process may use an endpoint, a role or a
// directory, only that process knows.
func CheckSinks(kinds map[string]FitKind, table *routes.Table) error {
	for _, name := range slices.Sorted(maps.Keys(table.Sinks)) {
		s := table.Sinks[name]
		kind := kinds[s.Kind]
		if kind == nil {
			return fmt.Errorf("sink %s is of the kind %q: use one of %v", name, s.Kind, slices.Sorted(maps.Keys(kinds)))
		}
		if _, err := kind(Settings{Name: name, JSON: s.Settings}); err != nil {
			return err
		}
	}
	return nil
}

// Refusals finds the changes that the sinks of a table would reject of a commit that is
// not made yet, with its secrets in plain text, in the order of its changes. Invalid
// settings reject everything.
func Refusals(kinds map[string]FitKind, table *routes.Table, c *ledger.Commit, live Live) ([]*stelev1.SinkRefusal, error) {
	var out []*stelev1.SinkRefusal
	fits := make(map[string]Fit)
	for _, name := range slices.Sorted(maps.Keys(table.Sinks)) {
		s := table.Sinks[name]
		fit, err := Fit{}, fmt.Errorf("unknown kind %q", s.Kind)
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
			if err := fits[name].refuses(newWrite(c, i, route)); err != nil {
				out = append(out, &stelev1.SinkRefusal{Key: string(ch.Key), Sink: name, Kind: table.Sinks[name].Kind, Reason: err.Error()})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fits)) {
		if fits[name].InTheWay == nil {
			continue
		}
		crowded, err := conflicting(fits[name], table, name, c, live)
		if err != nil {
			return nil, err
		}
		out = append(out, crowded...)
	}
	return out, nil
}

// conflicting finds the keys of a commit that others are in the way of.
func conflicting(fit Fit, table *routes.Table, sink string, c *ledger.Commit, live Live) (out []*stelev1.SinkRefusal, err error) {
	deleted := make(map[ledger.Key]bool)
	var set []ledger.Key
	for _, ch := range c.Changes {
		if deleted[ch.Key] = ch.Delete; !ch.Delete && table.Route(ch.Key).Wants(sink) {
			set = append(set, ch.Key)
		}
	}
	slices.Sort(set) // a before a/b
	// first is the first key under a prefix that the sink keeps.
	first := func(prefix ledger.Prefix, is func(ledger.Key) bool) (found ledger.Key) {
		err = errors.Join(err, live(prefix, func(k ledger.Key) bool {
			if is(k) && !deleted[k] && table.Route(k).Wants(sink) {
				found = k
			}
			return found == "" && is(k)
		}))
		return found
	}
	any := func(ledger.Key) bool { return true }
	comes := make(map[ledger.Key]bool)
	for _, k := range set {
		same := func(of ledger.Key) func(ledger.Key) bool { return func(k ledger.Key) bool { return k == of } }
		if first(ledger.Prefix(k), same(k)) != "" {
			continue // it is there
		}
		other := first(ledger.Prefix(k+"/"), any)
		for i := 0; i < len(k) && other == ""; i++ {
			if above := k[:i]; k[i] == '/' && (comes[above] || first(ledger.Prefix(above), same(above)) != "") {
				other = above
			}
		}
		if other == "" {
			comes[k] = true
			continue
		}
		out = append(out, &stelev1.SinkRefusal{Key: string(k), Sink: sink, Kind: table.Sinks[sink].Kind, Reason: fit.InTheWay(k, other).Error()})
	}
	return out, err
}

func (f Fit) refuses(w Write) error {
	var disclosed []ledger.Value
	if w.Route.Secret && !w.Deleted() {
		if f.Secrets && w.Route.Secure {
			disclosed = append(disclosed, w.Value)
		} else {
			w.Value = secret.Mask
		}
	}
	err := f.Refuses(w)
	var refused *RefusedError
	if !errors.As(err, &refused) {
		return nil
	}
	return withhold(refused, disclosed)
}
