package replica

import (
	"context"
	"fmt"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	bolt "go.etcd.io/bbolt"
)

// apply makes the commits of the message at seq visible atomically. It reports whether
// they are new: the commits of a message that is applied already must be the same. A
// message that does not continue what was seen changes nothing.
func (s *store) apply(seq ledger.Sequence, commits []*ledger.Commit) (fresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq <= s.position {
		return false, s.same(commits)
	}
	if seq != s.position+1 {
		return false, &journal.GapError{Want: s.position + 1, Got: seq}
	}
	if err := s.continues(seq, commits); err != nil {
		return false, err
	}
	s.add(seq, commits)
	s.advance(seq)
	return true, nil
}

// continues checks that each commit follows the head of its tenant. s.mu is held.
func (s *store) continues(seq ledger.Sequence, commits []*ledger.Commit) error {
	var head ledger.Head
	for i, c := range commits {
		if c.Epoch != s.epoch {
			return &ledger.ChainError{Tenant: c.Tenant, Revision: c.Revision, Reason: fmt.Sprintf("it is of the ledger %s, not %s", c.Epoch, s.epoch)}
		}
		if i == 0 || c.Tenant != commits[i-1].Tenant {
			head = s.headLocked(c.Tenant)
		}
		if err := c.Follows(head); err != nil {
			return err
		}
		head = c.Head(seq)
	}
	return nil
}

// add puts commits into the tail and moves their tenants' heads. s.mu is held.
func (s *store) add(seq ledger.Sequence, commits []*ledger.Commit) {
	a := s.active
	a.ordered = a.ordered && (len(a.records) == 0 || a.records[len(a.records)-1].sequence <= seq)
	a.records = append(a.records, tailRecord{seq, commits})
	for i, c := range commits {
		ts := s.tenant(c.Tenant)
		s.active.add(c, seq)
		ts.versions += uint64(len(c.Changes))
		s.noteBases(c)
		if c.ResetsClock() {
			ts.marks = append(ts.marks, mark{c.Revision, c.Time.UnixNano()})
		}
		if i+1 < len(commits) && commits[i+1].Tenant == c.Tenant {
			continue
		}
		ts.head = c.Head(seq)
		if c.Tenant == ledger.System {
			s.system.Store(uint64(c.Revision))
		}
		if ts.moved != nil {
			close(ts.moved)
			ts.moved = nil
		}
	}
	if s.active.bytes > s.flushBytes {
		select {
		case s.full <- struct{}{}:
		default:
		}
	}
}

// advance moves the position. s.mu is held.
func (s *store) advance(seq ledger.Sequence) {
	s.position = seq
	s.last = max(s.last, seq)
	s.settle()
	if s.moved != nil {
		close(s.moved)
		s.moved = nil
	}
}

// same checks that commits that were applied before are those that the journal holds
// now. s.mu is held, at least for reading.
func (s *store) same(commits []*ledger.Commit) error {
	for _, c := range commits {
		if head := s.headLocked(c.Tenant); c.Revision > head.Revision {
			return &ledger.ChainError{Tenant: c.Tenant, Revision: c.Revision, Reason: "the journal holds it where the replica has seen no such commit"}
		}
		if c.Revision < s.tenants[c.Tenant].start {
			continue // it may be dropped; it was checked when it came
		}
		have, err := s.commitLocked(c.Tenant, c.Revision)
		if err != nil {
			return err
		}
		if have.ID != c.ID {
			return &ledger.ChainError{Tenant: c.Tenant, Revision: c.Revision,
				Reason: fmt.Sprintf("the journal holds %s where the replica has seen %s", c.ID, have.ID)}
		}
	}
	return nil
}

// commitLocked is for callers that hold s.mu, at least for reading.
func (s *store) commitLocked(t ledger.Tenant, r ledger.Revision) (c *ledger.Commit, err error) {
	if c, ok := s.tailCommit(t, r); ok {
		return c.Commit, nil
	}
	defer kind.Catch(&err)()
	err = s.db.View(func(tx *bolt.Tx) error {
		c, err = readCommit(tx, t, r)
		return err
	})
	return c, err
}

func (s *store) tailCommit(t ledger.Tenant, r ledger.Revision) (tailCommit, bool) {
	if c, ok := s.active.commit(t, r); ok {
		return c, true
	}
	if s.frozen != nil {
		return s.frozen.commit(t, r)
	}
	return tailCommit{}, false
}

// progress is how far the journal was followed.
type progress struct {
	// position is the last message that is applied, with all before it.
	position ledger.Sequence
	// last is the journal's last sequence when it was last asked.
	last ledger.Sequence
	// current is the newest time at which the replica is known to have held
	// everything; zero while it never did.
	current time.Time
	// The replica will have been current at asked once position reaches due.
	due   ledger.Sequence
	asked time.Time
}

func (p *progress) settle() {
	if !p.asked.IsZero() && p.position >= p.due {
		if p.asked.After(p.current) {
			p.current = p.asked
		}
		p.asked = time.Time{}
	}
}

// observe notes that the journal's last sequence was last at that time.
func (s *store) observe(last ledger.Sequence, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = last
	if s.asked.IsZero() || s.position >= last {
		s.due, s.asked = last, at
	}
	s.settle()
}

func (s *store) followed() progress {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.progress
}

func (s *store) head(t ledger.Tenant) ledger.Head {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.headLocked(t)
}

// wait blocks until the tenant's head is at the revision or after it.
func (s *store) wait(ctx context.Context, t ledger.Tenant, rev ledger.Revision) error {
	return s.await(ctx, func() *chan struct{} {
		ts := s.tenant(t)
		if ts.head.Revision >= rev {
			return nil
		}
		return &ts.moved
	})
}

// waitPosition blocks until the message at seq is applied.
func (s *store) waitPosition(ctx context.Context, seq ledger.Sequence) error {
	return s.await(ctx, func() *chan struct{} {
		if s.position >= seq {
			return nil
		}
		return &s.moved
	})
}

// await blocks until reached, which is called with s.mu held, returns nil; otherwise
// it returns the channel that is closed at the next change.
func (s *store) await(ctx context.Context, reached func() *chan struct{}) error {
	for {
		s.mu.Lock()
		moved := reached()
		if moved == nil {
			s.mu.Unlock()
			return nil
		}
		if *moved == nil {
			*moved = make(chan struct{})
		}
		next := *moved
		s.mu.Unlock()
		select {
		case <-next:
		case <-s.gone:
			return errNotBuilt
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waitRoom blocks while the tails hold more than memory should. They do for as long as flushes
// fail, so a caller that waits must be able to stop.
func (s *store) waitRoom(ctx context.Context) error {
	for {
		s.mu.RLock()
		full, room := s.frozen != nil && s.active.bytes > s.flushBytes, s.room
		s.mu.RUnlock()
		if !full {
			return nil
		}
		select {
		case <-room:
		case <-s.gone:
			return errNotBuilt
		case <-ctx.Done():
			return fmt.Errorf("wait for a flush of the replica: %w", ctx.Err())
		}
	}
}

// Moved returns a channel that is closed once the position is after the given one.
func (r *Replica) Moved(after ledger.Sequence) <-chan struct{} {
	s := r.store.Load()
	if s == nil {
		return nil // it is looked at again after a while
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.position > after {
		moved := make(chan struct{})
		close(moved)
		return moved
	}
	if s.moved == nil {
		s.moved = make(chan struct{})
	}
	return s.moved
}
