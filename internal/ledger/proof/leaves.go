package proof

import (
	"errors"
	"fmt"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	bolt "go.etcd.io/bbolt"
)

// ErrDiffers: a message is not the one whose commits the tree has.
var ErrDiffers = errors.New("it is not what was hashed when it was written")

// Hashed is the last message whose commits the tree has, and how many commits that are.
func (t *Tree) Hashed() (position ledger.Sequence, size int64, err error) {
	err = t.read(func(s *store) error {
		state, err := s.state()
		position, size = state.position, state.size
		return err
	})
	return position, size, err
}

// Leaves compares a message, which the tree must have, with the tree. Its commits are the
// leaves from the first up to, but not including, the second. The error wraps ErrDiffers,
// or ledger.ErrUnavailable.
func (t *Tree) Leaves(m journal.Message) (from, to int64, err error) {
	err = t.readTx(func(tx *bolt.Tx, s *store) error {
		runs, err := readRecord(m.Record, s.epoch)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDiffers, err)
		}
		for i, r := range runs {
			at, ok, err := findSpan(tx, r.tenant, r.first)
			if err != nil {
				return err
			}
			if i == 0 {
				from, to = at.leaf, at.leaf
			}
			if !ok || at.first != r.first || at.count != int64(len(r.leaves)) || at.leaf != to {
				return fmt.Errorf("%w: %s%s is elsewhere in the tree", ErrDiffers, r.tenant, r.first)
			}
			for _, leaf := range r.leaves {
				hashed, err := leafAt(hashes{tx}, to)
				if err != nil {
					return err
				}
				if leaf != hashed {
					return fmt.Errorf("%w: a commit of %s has the id %s, not %s", ErrDiffers, r.tenant, leaf, hashed)
				}
				to++
			}
		}
		return nil
	})
	return from, to, err
}
