package replica

import (
	"context"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

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

func (s *store) headLocked(t ledger.Tenant) ledger.Head {
	if ts := s.tenants[t]; ts != nil {
		return ts.head
	}
	return ledger.Head{}
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

// waitRoom blocks while the tails hold more than memory should.
func (s *store) waitRoom(done <-chan struct{}) {
	for {
		s.mu.RLock()
		full, room := s.frozen != nil && s.active.bytes > s.flushBytes, s.room
		s.mu.RUnlock()
		if !full {
			return
		}
		select {
		case <-room:
		case <-done:
			return
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
