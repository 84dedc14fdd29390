package migrate

import (
	"maps"
	"slices"

	"github.com/stelehq/stele/internal/ledger"
)

// difference is the changes that make the ledger's keys below the mapping's prefix
// equal to a state: deletions first, then keys that are new or differ in meaning.
func (r *Reader) difference(t *tenant, state []ledger.Change) ([]ledger.Change, error) {
	has, err := r.Ledger.Entries(r.ctx, t.name, r.Mapping.into)
	if err != nil {
		return nil, err
	}
	var changes []ledger.Change
	for _, c := range state {
		if now, ok := has[c.Key]; !ok || !now.Equal(c.Value) {
			changes = append(changes, c)
		}
		delete(has, c.Key)
	}
	for _, key := range slices.Sorted(maps.Keys(has)) {
		if !r.Prune {
			r.Kept(t.name, key)
			continue
		}
		changes = append(changes, ledger.Change{Key: key, Delete: true})
	}
	return changes, nil
}
