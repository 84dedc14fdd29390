package routes

import (
	"fmt"

	"github.com/stelehq/stele/internal/ledger"
)

// Check makes a ledger's Config.Check: new routes must be valid, with sinks that valid
// accepts; and if the routes in force are strict, a key without a route cannot be set.
func (s *Source) Check(valid func(*Table) error) func(ledger.Tenant, []ledger.Change) error {
	return func(t ledger.Tenant, changes []ledger.Change) error {
		switch {
		case t == ledger.System:
			return checkRoutes(changes, valid)
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

func checkRoutes(changes []ledger.Change, valid func(*Table) error) error {
	for i, c := range changes {
		if c.Key != Key || c.Delete {
			continue
		}
		table, err := Parse([]byte(c.Value))
		if err == nil {
			err = valid(table)
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
		wrong.Add(fmt.Sprintf("changes[%d].key", i), fmt.Sprintf("%s has no route, and the routes are strict: use a prefix that has a route, or have an operator add one (stele routes set)", c.Key))
	}
	return wrong.OrNil()
}
