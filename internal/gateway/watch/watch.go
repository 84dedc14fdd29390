package watch

import (
	"fmt"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// maxWatches one stream may carry.
const maxWatches = 10_000

// Watch is one watch of one stream.
type Watch struct {
	ID         uint64
	Stream     *Stream
	Selector   Selector
	NewestOnly bool
	counted    bool // in the tenant's quota; guarded by the stream

	// Guarded by the hub: after is the last revision that the watch had when it joined; group
	// is nil unless the watch is live.
	after ledger.Revision
	group *group
}

// Choose parses the selection of a watch.
func (w *Watch) Choose(req *stelev1.CreateWatch) error {
	for i, k := range req.Keys {
		key, err := ledger.ParseKey(k)
		if err != nil {
			return ledger.Invalid(fmt.Sprintf("create.keys[%d]", i), err.Error())
		}
		w.Selector.keys = append(w.Selector.keys, key)
	}
	for i, p := range req.Prefixes {
		pattern, err := ledger.ParsePattern(p)
		if err != nil {
			return ledger.Invalid(fmt.Sprintf("create.prefixes[%d]", i), err.Error())
		}
		key, below := pattern.Split()
		if key != "" {
			if _, err := ledger.ParseKey(string(key)); err == nil {
				w.Selector.keys = append(w.Selector.keys, key)
			}
		}
		w.Selector.prefixes = append(w.Selector.prefixes, below)
	}
	if req.InitialState && req.FromRevision > 0 {
		return ledger.Invalid("create.from_revision", "the initial state is that of the head: ask for one of the two")
	}
	w.Selector.tidy()
	return nil
}
