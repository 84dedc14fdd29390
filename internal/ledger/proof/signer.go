package proof

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	"github.com/stelehq/stele/internal/ledger/internal/follower"
)

// Stream is where checkpoints are kept.
type Stream interface {
	// AppendAfter makes one durable if the newest of the name has the sequence
	// expected; else ledger.ErrConflict.
	AppendAfter(ctx context.Context, name string, expected ledger.Sequence, body []byte) (ledger.Sequence, error)
	// Last is the newest of the name; its sequence is 0 if there is none.
	Last(ctx context.Context, name string) (ledger.Sequence, []byte, error)
}

// CheckpointName is the name of all checkpoints in their stream, and KeysName that of
// the ledger's public keys, once there is more than one.
const (
	CheckpointName = "tree"
	KeysName       = "keys"
)

// Sign starts checkpoint signing, until Close: a checkpoint per second while the tree grows. Call
// it once, after Follow. The error reports that the key belongs to another ledger.
//
// Any number of processes may sign with the same key. A checkpoint is appended to the
// stream on the condition that the newest one there is one that this tree extends; a
// process that comes second continues reading. So all checkpoints form one line, each
// an extension of the one before it.
//
// Size and root are durable in the tree's file before they are signed, and a signature
// is shown only once it is durable in the stream. An existing signature binds this
// process permanently: a tree that does not extend it stops.
//
// A key with a successor hands over to it: the next checkpoint names the successor and
// is signed by both, and from then on only the successor signs. The condition on the
// newest checkpoint makes that the end of the old key for every process. A process
// that does not have the successor then serves the checkpoints of the others.
func (t *Tree) Sign(stream Stream, key Key) error {
	if err := key.Of(t.journal.Epoch()); err != nil {
		return err
	}
	keys, err := ParseVerifier(key.Public())
	if err != nil {
		return err
	}
	s := &signer{t: t, stream: stream, key: key, keys: keys}
	t.signs.Store(true)
	t.done.Go(s.run)
	return nil
}

// signer is owned by one goroutine.
type signer struct {
	t      *Tree
	stream Stream
	key    Key
	// keys are the ledger's, of which the newest signs.
	keys Verifier
	// superseded is set if this process was found not to have the newest key.
	superseded bool
	// store is the file that the newest checkpoint was compared with.
	store *store

	// newest checkpoint in the stream that was ever seen.
	newest release
	// known says that it is the newest there is, as far as we know, and that the
	// tree extends it.
	known bool
	// doubt is since when the stream and the tree have not agreed.
	doubt time.Time
}

func (s *signer) run() {
	for s.t.ctx.Err() == nil && s.t.Stopped() == nil {
		begun := time.Now()
		if err := s.round(s.t.ctx); errors.Is(err, follower.ErrContradiction) {
			s.t.stop(err)
		} else if err != nil && s.t.ctx.Err() == nil {
			s.t.cfg.Log.Warn("cannot sign checkpoints; retrying", "error", err)
		}
		select {
		case <-time.After(interval - time.Since(begun)):
		case <-s.t.ctx.Done():
			return
		}
		select {
		case <-s.t.grown:
		case <-time.After(interval): // for what has failed, or waits
		case <-s.t.ctx.Done():
		}
	}
}

// round signs the tree if it has grown.
func (s *signer) round(ctx context.Context) error {
	return s.t.read(func(st *store) error {
		if st != s.store { // it was rebuilt: it may hold less than what was signed
			s.store, s.known = st, false
		}
		state, err := st.state()
		if err != nil {
			return err
		}
		if err := s.sign(ctx, state); err != nil {
			if errors.Is(err, follower.ErrContradiction) {
				// Damage may hide what was seen, and a damaged file is rebuilt.
				if found := st.scrub(ctx); errors.Is(found, boltfile.ErrDamaged) {
					return found
				}
			}
			return err
		}
		if s.known && s.newest != state.released {
			return st.release(s.newest)
		}
		return nil
	})
}

// sign has the state signed, unless the newest checkpoint covers it.
func (s *signer) sign(ctx context.Context, state treeState) error {
	if !s.known {
		if err := s.adopt(ctx, state); err != nil || !s.known {
			return err
		}
	}
	handover := s.handsOver()
	if state.size == 0 || state.size <= s.newest.size && !handover {
		return nil
	}
	if err := s.t.Stopped(); err != nil {
		return err
	}
	signers := s.signers(handover)
	if len(signers) == 0 {
		s.known = false // to read what the others sign
		return nil
	}
	c := Checkpoint{Epoch: s.store.epoch, Size: state.size, Root: state.root}
	if handover {
		c.Successor = s.key.Next()
	}
	signed, err := c.Sign(signers...)
	if err != nil {
		return err
	}
	seq, err := s.stream.AppendAfter(ctx, CheckpointName, s.newest.sequence, []byte(signed))
	switch {
	case err == nil && !handover:
		s.accept(release{seq, c.Size, c.Root}, Signed{c, signed, s.keys.Keys()})
		return nil
	case err == nil, errors.Is(err, ledger.ErrConflict): // a handover is adopted like another process's
		s.known = false
		return s.adopt(ctx, state)
	}
	s.known = false // another signer was first, or it is unknown whether it is there
	return err
}

// accept notes the newest checkpoint and shows it.
func (s *signer) accept(r release, c Signed) {
	s.newest, s.known, s.doubt = r, true, time.Time{}
	if r.sequence > 0 {
		s.t.show(c)
	}
	s.t.agreed.Store(true) // after it is shown, as Verified promises
}

// adopt reads the newest checkpoint in the stream, and continues from it if the tree
// extends it. While the tree has not grown as far yet, it is left unknown.
func (s *signer) adopt(ctx context.Context, state treeState) error {
	before := s.newest // or what the process before this one has seen
	if before.sequence < state.released.sequence {
		before = state.released
	}
	seq, body, err := s.stream.Last(ctx, CheckpointName)
	if err != nil {
		return err
	}
	if seq < before.sequence {
		return s.suspect(fmt.Errorf("%w: the stream of checkpoints has lost the one at %d commits: restore the stream from a backup", follower.ErrContradiction, before.size))
	}
	if seq == 0 {
		s.accept(release{}, Signed{})
		return nil
	}
	c, err := s.open(ctx, string(body))
	if err != nil {
		return err
	}
	switch {
	case c.Size < before.size, c.Size == before.size && c.Root != before.root && before.sequence > 0:
		return fmt.Errorf("%w: the newest checkpoint has %d commits and the root %s, and one with %d and %s was seen", follower.ErrContradiction, c.Size, c.Root, before.size, before.root)
	case c.Size > state.size:
		return s.awaitTree(ctx, state, c)
	}
	root, err := s.store.rootAt(c.Size)
	if err != nil {
		return err
	}
	if root != c.Root {
		return fmt.Errorf("%w: a checkpoint states that the root of the first %d commits is %s, and in the journal it is %s", follower.ErrContradiction, c.Size, c.Root, root)
	}
	s.accept(release{seq, c.Size, c.Root}, Signed{c, string(body), s.keys.Keys()})
	return nil
}

// awaitTree handles a checkpoint of a tree that is larger than ours: either this
// process is behind, or the journal has lost signed commits.
func (s *signer) awaitTree(ctx context.Context, state treeState, c Checkpoint) error {
	last, err := s.t.journal.Last(ctx)
	if err != nil {
		return err
	}
	if last > state.position {
		s.doubt = time.Time{}
		return nil
	}
	return s.suspect(fmt.Errorf("%w: a checkpoint states %d commits, and the journal holds %d: it was cut, restored from a backup, or created again", follower.ErrContradiction, c.Size, state.size))
}

// suspect believes why only after it has been so for a while.
func (s *signer) suspect(why error) error {
	if s.doubt.IsZero() {
		s.doubt = time.Now()
	}
	if time.Since(s.doubt) < rewindGrace {
		return nil
	}
	return why
}
