package proof

import (
	"errors"
	"fmt"

	"github.com/stelehq/stele/internal/ledger"
)

// ErrAhead: a checkpoint is of a larger tree than this process's. Either this process is
// behind, or the journal has lost what was signed.
var ErrAhead = errors.New("the checkpoint is of a larger tree")

// SplitViewError is the evidence of a split view: two checkpoints that the ledger's key has
// signed, one of which is not the beginning of the other.
type SplitViewError struct {
	Size         int64
	Ours, Theirs string
}

func (e *SplitViewError) Error() string {
	return fmt.Sprintf("split view: the ledger's key has signed two different histories: at %d commits, the tree here differs from the checkpoint: keep both checkpoints as evidence, and find out who has used the key", e.Size)
}

// Compare compares a checkpoint that was seen elsewhere with the tree. A split view is
// logged and counted, and returned as a SplitViewError. Other errors: ErrInvalid for
// what the ledger's key did not sign, ErrAhead, ledger.ErrUnavailable.
func (t *Tree) Compare(signed string) error {
	newest, _ := t.Newest()
	if newest.Size == 0 {
		return fmt.Errorf("%w: this process has no checkpoint yet", ledger.ErrUnavailable)
	}
	keys, err := ParseVerifier(newest.Keys)
	if err != nil {
		return err
	}
	c, err := Open(signed, keys)
	if err != nil {
		return err
	}
	return t.read(func(s *store) error {
		state, err := s.state()
		if err != nil {
			return err
		}
		if c.Size > state.size {
			return fmt.Errorf("%w: it has %d commits, and the tree here %d", ErrAhead, c.Size, state.size)
		}
		root, err := s.rootAt(c.Size)
		if err != nil || root == c.Root {
			return err
		}
		split := &SplitViewError{c.Size, newest.Note, signed}
		if t.reported(c) {
			t.cfg.Log.Error("split view: the ledger's key has signed a checkpoint that contradicts this ledger; keep both as evidence",
				"size", c.Size, "ours", split.Ours, "theirs", split.Theirs)
		}
		return split
	})
}

// maxSplitViews bounds how many contradicting checkpoints are remembered.
const maxSplitViews = 1000

// reported remembers a checkpoint that contradicts the tree, and reports whether it is
// new.
func (t *Tree) reported(c Checkpoint) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.splitViews[c] || len(t.splitViews) >= maxSplitViews {
		return false
	}
	if t.splitViews == nil {
		t.splitViews = make(map[Checkpoint]bool)
	}
	t.splitViews[c] = true
	return true
}

// SplitViews is how many checkpoints of the ledger's key were seen that contradict the
// tree.
func (t *Tree) SplitViews() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.splitViews)
}
