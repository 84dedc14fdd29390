package proof

import (
	"errors"
	"time"

	"github.com/stelehq/stele/internal/ledger/internal/follower"
)

// SetPace makes everything that waits for time wait less.
func SetPace(every, grace time.Duration) { interval, rewindGrace = every, grace }

// Root is the tree's root as the file holds it.
func (t *Tree) Root() (size int64, root string, err error) {
	err = t.read(func(s *store) error {
		state, e := s.state()
		size, root = state.size, state.root.String()
		return e
	})
	return size, root, err
}

// IsContradiction reports whether an error means that the journal or a checkpoint
// contradicts what was seen.
func IsContradiction(err error) bool { return errors.Is(err, follower.ErrContradiction) }

// Damage reports the file as damaged.
func (t *Tree) Damage() { t.reportDamage(t.store.Load(), damaged("a test says so")) }
