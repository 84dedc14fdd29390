package proof

import (
	"context"
	"errors"
	"fmt"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/follower"
	"golang.org/x/mod/sumdb/note"
)

// handsOver reports whether the next checkpoint is to name this process's second key as
// the successor of its first.
func (s *signer) handsOver() bool {
	return s.key.next != nil && s.keys.Newest() == s.key.public
}

// signers are the keys that sign the next checkpoint; none if this process does not have
// the ledger's newest key.
func (s *signer) signers(handover bool) []note.Signer {
	switch newest := s.keys.Newest(); {
	case handover:
		return []note.Signer{s.key.signer, s.key.next.signer}
	case newest == s.key.public:
		return []note.Signer{s.key.signer}
	case newest == s.key.Next():
		return []note.Signer{s.key.next.signer}
	}
	if !s.superseded {
		s.superseded = true
		s.t.cfg.Log.Error("this process signs no checkpoints: the checkpoint key has a successor that it does not have; give it the new key file and restart it",
			"key", s.key.public, "successor", s.keys.Newest())
	}
	return nil
}

// open verifies the newest checkpoint in the stream. If it is a handover, the new key
// is in the list of keys, durably, before anything can follow the handover: a process
// that reads a later checkpoint finds the key that signed it there.
func (s *signer) open(ctx context.Context, signed string) (Checkpoint, error) {
	if err := s.readKeys(ctx); err != nil {
		return Checkpoint{}, err
	}
	c, err := Open(signed, s.keys)
	if err != nil { // unless it is a handover from a key that is not listed yet
		why := fmt.Errorf("%w: the newest checkpoint is not signed with this process's key, %s: %w", follower.ErrContradiction, s.key.public, err)
		if why = s.suspect(why); why == nil {
			why = fmt.Errorf("%w: read the newest checkpoint again: %w", ledger.ErrUnavailable, err)
		}
		return c, why
	}
	if c.Successor == "" {
		return c, s.published()
	}
	keys, err := s.keys.Succeed(signed)
	if err != nil {
		return c, fmt.Errorf("%w: %w", follower.ErrContradiction, err)
	}
	seq, body, err := s.stream.Last(ctx, KeysName)
	if err != nil {
		return c, err
	}
	if seq > 0 {
		if keys, err = keys.Extend(string(body)); err != nil {
			return c, fmt.Errorf("%w: the ledger's keys are not those that its checkpoints name: %w", follower.ErrContradiction, err)
		}
	}
	if string(body) != keys.Keys() {
		if _, err := s.stream.AppendAfter(ctx, KeysName, seq, []byte(keys.Keys())); err != nil && !errors.Is(err, ledger.ErrConflict) {
			return c, err
		} else if err != nil {
			return c, fmt.Errorf("%w: another process is writing the ledger's keys", ledger.ErrUnavailable)
		}
	}
	s.keys = keys
	return c, s.published()
}

// readKeys takes over the keys that other processes have handed over to.
func (s *signer) readKeys(ctx context.Context) error {
	seq, body, err := s.stream.Last(ctx, KeysName)
	if err != nil || seq == 0 {
		return err
	}
	keys, err := s.keys.Extend(string(body))
	if err != nil {
		return fmt.Errorf("%w: this process's key is not one of the ledger's: %w", follower.ErrContradiction, err)
	}
	s.keys = keys
	return nil
}

// published passes the keys that verify the ledger's checkpoints to the process.
func (s *signer) published() error {
	if s.t.cfg.Keys == nil {
		return nil
	}
	return s.t.cfg.Keys(s.keys.Keys())
}
