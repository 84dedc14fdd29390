package migrate

import (
	"maps"
	"slices"

	"github.com/stelehq/stele/internal/ledger"
)

// difference is the changes that make the ledger's keys below the mapping's prefix
// equal to a state: keys that are new or differ in meaning, then deletions. Nothing is
// deleted if some names of the state do not fit, because the state then lacks their keys.
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
	prune := r.Prune && len(r.finalOf(t.name).Unfit) == 0
	for _, key := range slices.Sorted(maps.Keys(has)) {
		if !r.Mapping.into.Covers(key) {
			continue
		}
		if !prune {
			r.Kept(t.name, key)
			continue
		}
		changes = append(changes, ledger.Change{Key: key, Delete: true})
	}
	return changes, nil
}
