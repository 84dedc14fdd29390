package routes

import (
	"fmt"
	"maps"
	"slices"

	"github.com/stelehq/stele/internal/ledger"
)

// CheckKinds refuses sinks of a kind that is not among these.
func (t *Table) CheckKinds(kinds []string) error {
	for _, name := range slices.Sorted(maps.Keys(t.Sinks)) {
		if kind := t.Sinks[name].Kind; !slices.Contains(kinds, kind) {
			return fmt.Errorf("sink %s is of the kind %q: use one of %v", name, kind, kinds)
		}
	}
	return nil
}

// Check makes a ledger's Config.Check: new routes must be valid, with sinks of these
// kinds; and if the routes in force are strict, a key without a route cannot be set.
func (s *Source) Check(kinds []string) func(ledger.Tenant, []ledger.Change) error {
	return func(t ledger.Tenant, changes []ledger.Change) error {
		switch {
		case t == ledger.System:
			return checkRoutes(changes, kinds)
		case t.Reserved():
			return nil
		}
		table, _, err := s.Table()
		if err != nil {
			return fmt.Errorf("find out whether the routes are strict: %w", err)
		}
		if !table.Strict {
			return nil
		}
		return table.checkRouted(changes)
	}
}

func checkRoutes(changes []ledger.Change, kinds []string) error {
	for i, c := range changes {
		if c.Key != Key || c.Delete {
			continue
		}
		table, err := Parse([]byte(c.Value))
		if err == nil {
			err = table.CheckKinds(kinds)
		}
		if err != nil {
			return ledger.Invalid(fmt.Sprintf("changes[%d].value", i), fmt.Sprintf("%s: %v", Key, err))
		}
	}
	return nil
}

func (t *Table) checkRouted(changes []ledger.Change) error {
	var wrong ledger.InvalidError
	for i, c := range changes {
		if c.Delete || c.Key.Reserved() || t.Route(c.Key) != nil {
			continue
		}
		wrong.Violations = append(wrong.Violations, ledger.Violation{
			Field:       fmt.Sprintf("changes[%d].key", i),
			Description: fmt.Sprintf("%s has no route, and the routes are strict: use a prefix that has a route, or have an operator add one (stele routes set)", c.Key),
		})
		if len(wrong.Violations) == ledger.MaxViolations {
			break
		}
	}
	if len(wrong.Violations) > 0 {
		return &wrong
	}
	return nil
}
