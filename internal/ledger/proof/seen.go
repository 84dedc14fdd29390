package proof

import (
	"context"
	"time"
)

// Seen is the size and the root of the tree. It waits, until ctx ends, for the commits that the
// journal has now.
func (t *Tree) Seen(ctx context.Context) (c Checkpoint, err error) {
	last, err := t.journal.Last(ctx)
	if err != nil {
		return c, err
	}
	for t.Stopped() == nil && ctx.Err() == nil {
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
		}
	}
	err = t.read(func(s *store) error {
		state, err := s.state()
		c = Checkpoint{Epoch: s.epoch, Size: state.size, Root: state.root}
		return err
	})
	return c, err
}
