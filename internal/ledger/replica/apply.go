package replica

import (
	"fmt"

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

// tenant is the tenant's state, which is created if it does not exist. s.mu is held.
func (s *store) tenant(t ledger.Tenant) *tenantState {
	ts := s.tenants[t]
	if ts == nil {
		ts = &tenantState{tenantRecord: tenantRecord{kept: 1}, start: 1}
		s.tenants[t] = ts
	}
	return ts
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
