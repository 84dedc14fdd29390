package proof

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/stelehq/stele/ledger"
)

// Stream is where checkpoints are kept, those of a shard by its number.
type Stream interface {
	// AppendAfter makes one durable if the newest of the name has the sequence
	// expected; else ledger.ErrConflict.
	AppendAfter(ctx context.Context, name string, expected ledger.Sequence, body []byte) (ledger.Sequence, error)
	// Last is the newest of the name; its sequence is 0 when there is none.
	Last(ctx context.Context, name string) (ledger.Sequence, []byte, error)
}

// Sign starts signing, until Close: of every shard that has grown, a checkpoint a
// second. Call it once, after Follow. The error says that the key is another
// ledger's.
//
// Any number of processes may sign with the same key. A checkpoint goes into the
// stream on the condition that the newest one there is the one that this tree was
// seen to extend; who comes second reads on. So all checkpoints of a shard stand
// in one line, each an extension of the one before it.
//
// Size and root are durable in the tree's file before they are signed, and nobody
// sees a signature that is not durable in the stream. What has been signed holds
// this process for ever: a tree that does not extend it stops.
func (t *Tree) Sign(stream Stream, key Key) error {
	if err := key.Of(t.journal.Epoch()); err != nil {
		return err
	}
	s := &signer{t: t, stream: stream, key: key, shards: make([]signedShard, t.journal.Shards())}
	t.done.Go(s.run)
	return nil
}

// signer is owned by one goroutine.
type signer struct {
	t      *Tree
	stream Stream
	key    Key
	shards []signedShard
	// store is the file that the shards were compared with.
	store *store
}

type signedShard struct {
	// newest checkpoint in the stream that was ever seen.
	newest release
	// known says that it is the newest there is, as far as we know, and that the
	// tree extends it.
	known bool
	// doubt is since when the stream and the tree have not gone together.
	doubt time.Time
}

func (s *signer) run() {
	for s.t.ctx.Err() == nil && s.t.Stopped() == nil {
		begun := time.Now()
		if err := s.round(s.t.ctx); errors.Is(err, errContradiction) {
			s.t.stop(err)
		} else if err != nil && s.t.ctx.Err() == nil {
			s.t.cfg.Log.Warn("cannot sign checkpoints; trying again", "error", err)
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

// round signs every shard that has grown.
func (s *signer) round(ctx context.Context) error {
	return s.t.read(func(st *store) error {
		if st != s.store { // it was rebuilt: it may hold less than what was signed
			s.store = st
			for i := range s.shards {
				s.shards[i].known = false
			}
		}
		states, err := st.states()
		if err != nil {
			return err
		}
		released := make(map[int]release)
		for shard, state := range states {
			if err = s.t.accuse(st, s.sign(ctx, shard, state)); err != nil {
				break
			}
			if newest := s.shards[shard].newest; s.shards[shard].known && newest != state.released {
				released[shard] = newest
			}
		}
		if len(released) > 0 {
			err = errors.Join(err, st.release(released))
		}
		return err
	})
}

// sign has the shard's state signed, unless the newest checkpoint covers it.
func (s *signer) sign(ctx context.Context, shard int, state shardState) error {
	sh := &s.shards[shard]
	if !sh.known {
		if err := s.adopt(ctx, shard, state); err != nil || !sh.known {
			return err
		}
	}
	if state.size <= sh.newest.size {
		return nil
	}
	if err := s.t.Stopped(); err != nil {
		return err
	}
	c := Checkpoint{Epoch: s.store.Epoch, Shard: shard, Size: state.size, Root: state.root}
	signed, err := c.Sign(s.key.signer)
	if err != nil {
		return err
	}
	seq, err := s.stream.AppendAfter(ctx, strconv.Itoa(shard), sh.newest.sequence, []byte(signed))
	if err == nil {
		s.accept(shard, release{seq, c.Size, c.Root}, Signed{c, signed, s.key.public})
		return nil
	}
	sh.known = false // another signer was first, or it is unknown whether it is there
	if errors.Is(err, ledger.ErrConflict) {
		return s.adopt(ctx, shard, state)
	}
	return err
}

// accept notes the newest checkpoint and shows it.
func (s *signer) accept(shard int, r release, c Signed) {
	s.shards[shard] = signedShard{newest: r, known: true}
	if r.sequence == 0 {
		return
	}
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	s.t.newest[shard] = c
	close(s.t.changed)
	s.t.changed = make(chan struct{})
}

// adopt reads the newest checkpoint in the stream, and goes on from it if the
// tree extends it. While the tree has not grown as far yet, it is left unknown.
func (s *signer) adopt(ctx context.Context, shard int, state shardState) error {
	sh := &s.shards[shard]
	before := sh.newest // or what the process before this one has seen
	if before.sequence < state.released.sequence {
		before = state.released
	}
	seq, body, err := s.stream.Last(ctx, strconv.Itoa(shard))
	if err != nil {
		return err
	}
	if seq < before.sequence {
		return s.doubt(sh, fmt.Errorf("%w: the stream of checkpoints has lost that of shard %d with %d commits: restore the stream from a backup", errContradiction, shard, before.size))
	}
	if seq == 0 {
		s.accept(shard, release{}, Signed{})
		return nil
	}
	c, err := Open(string(body), s.key.verifier)
	if err != nil {
		return fmt.Errorf("%w: the newest checkpoint of shard %d is not signed with this process's key, %s: %w", errContradiction, shard, s.key.public, err)
	}
	switch {
	case c.Shard != shard:
		return fmt.Errorf("%w: checkpoint %d, of shard %d, is in the place of one of shard %d", errContradiction, seq, c.Shard, shard)
	case c.Size < before.size, c.Size == before.size && c.Root != before.root && before.sequence > 0:
		return fmt.Errorf("%w: the newest checkpoint of shard %d has %d commits and the root %s, and one with %d and %s was seen", errContradiction, shard, c.Size, c.Root, before.size, before.root)
	case c.Size > state.size:
		return s.awaitTree(ctx, shard, state, c)
	}
	root, err := s.store.rootAt(shard, c.Size)
	if err != nil {
		return err
	}
	if root != c.Root {
		return fmt.Errorf("%w: a checkpoint of shard %d says that the root of its first %d commits is %s, and in the journal it is %s", errContradiction, shard, c.Size, c.Root, root)
	}
	s.accept(shard, release{seq, c.Size, c.Root}, Signed{c, string(body), s.key.public})
	return nil
}

// awaitTree is for a checkpoint of a tree that is larger than ours: either we are
// behind, or the journal has lost what was signed.
func (s *signer) awaitTree(ctx context.Context, shard int, state shardState, c Checkpoint) error {
	sh := &s.shards[shard]
	last, err := s.t.journal.Last(ctx, shard)
	if err != nil {
		return err
	}
	if last > state.position {
		sh.doubt = time.Time{}
		return nil
	}
	return s.doubt(sh, fmt.Errorf("%w: a checkpoint says that shard %d has %d commits, and the journal holds %d: it was cut, restored from a backup, or made again", errContradiction, shard, c.Size, state.size))
}

// doubt believes why only after it has been so for a while.
func (s *signer) doubt(sh *signedShard, why error) error {
	if sh.doubt.IsZero() {
		sh.doubt = time.Now()
	}
	if time.Since(sh.doubt) < rewindPatience {
		return nil
	}
	return why
}
