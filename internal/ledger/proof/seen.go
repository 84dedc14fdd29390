package proof

import (
	"context"
	"fmt"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// Seen is the size and the root of the tree. It waits for the commits that the journal
// has now; the error is ErrUnavailable if they are not there when ctx ends.
func (t *Tree) Seen(ctx context.Context) (c Checkpoint, err error) {
	last, err := t.journal.Last(ctx)
	if err != nil {
		return c, err
	}
	for t.Stopped() == nil {
		position, _, err := t.Hashed()
		if err != nil {
			return c, err
		}
		if position >= last {
			break
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return c, fmt.Errorf("%w: the tree has the journal up to position %d, and not yet up to %d", ledger.ErrUnavailable, position, last)
		}
	}
	err = t.read(func(s *store) error {
		state, err := s.state()
		c = Checkpoint{Epoch: s.epoch, Size: state.size, Root: state.root}
		return err
	})
	return c, err
}
