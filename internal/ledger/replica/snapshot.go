package replica

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	bolt "go.etcd.io/bbolt"
)

// snapshot is what a replica holds of a tenant at one moment, its commits and the versions
// of its keys, in the file and in the tails. It stays the same for as long as it is open.
type snapshot struct {
	r      *Replica
	store  *store
	tenant ledger.Tenant
	// newest is the head when it was opened, and head its revision.
	newest ledger.Head
	head   ledger.Revision
	// bases are those of the head.
	bases baseList
	// marks are the commits that reset the clock.
	marks []mark
	// kept is the first revision whose history the replica keeps; 0 without a head.
	kept           ledger.Revision
	active, frozen *tail
	// live is set if the active tail has commits of the tenant: only then it is searched, which
	// takes the store's lock.
	live     bool
	*reading // nil once the snapshot is closed
	// current is when the replica was last known to hold everything.
	current time.Time
}

func (s *snapshot) open() error {
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()
	if s.store.current.IsZero() {
		return errNotBuilt
	}
	s.current = s.store.current
	s.active, s.frozen = s.store.active, s.store.frozen
	s.live = s.active.tenants[s.tenant] != nil
	if ts := s.store.tenants[s.tenant]; ts != nil {
		s.newest = ts.head
		s.head = ts.head.Revision
		s.kept = ts.start
		s.bases = ts.bases
		s.marks = ts.marks
	}
	return s.begin()
}

// begin begins the transaction. The store's mu is held, so that its tails are of the same
// moment.
func (s *snapshot) begin() (err error) {
	s.reading, err = s.store.readings.begin()
	return err
}

// close ends the transaction. It reports whether it was open.
func (s *snapshot) close() bool {
	if s.reading == nil {
		return false
	}
	s.store.readings.end(s.reading)
	s.reading = nil
	return true
}

// guard turns damage, found by a checksum or by a panic of bbolt, into
// ErrUnavailable, and has the file rebuilt. An iterator guards each step, so that a panic in
// the loop over it stays the caller's.
func (s *snapshot) guard(err *error) {
	if p := recover(); p != nil {
		*err = damaged("%v\n%s", p, debug.Stack())
	}
	if errors.Is(*err, boltfile.ErrDamaged) {
		s.r.reportDamage(s.store, *err)
		*err = fmt.Errorf("%w: the replica's file is damaged and is being rebuilt from the journal; try again", ledger.ErrUnavailable)
	}
}

func (s *snapshot) lookup(c **bolt.Cursor, bucket, key []byte) []byte {
	if k, b := s.cursor(c, bucket).Seek(key); bytes.Equal(k, key) {
		return b
	}
	return nil
}

func (s *snapshot) tailCommit(r ledger.Revision) (c tailCommit, ok bool) {
	if s.live {
		s.store.mu.RLock()
		c, ok = s.active.commit(s.tenant, r)
		s.store.mu.RUnlock()
	}
	if !ok && s.frozen != nil {
		c, ok = s.frozen.commit(s.tenant, r)
	}
	return c, ok
}

func (s *snapshot) stored(r ledger.Revision) (storedCommit, error) {
	key := commitKey(s.tenant, r)
	b := s.lookup(&s.commits, bucketCommits, key)
	if b == nil {
		return storedCommit{}, damaged("commit %s%s is missing", s.tenant, r)
	}
	return splitCommit(key, b)
}

// summary is a commit without its changes, and its id.
func (s *snapshot) summary(rev ledger.Revision) (sum ledger.Summary, id ledger.CommitID, err error) {
	if c, ok := s.tailCommit(rev); ok {
		return c.Summary(), c.ID, nil
	}
	if s.dropped(rev) {
		return sum, id, s.notKept(rev, time.Time{})
	}
	c, err := s.storedSummary(rev)
	if err != nil {
		return sum, c.id, err
	}
	if sum, err = ledger.Summarize(c.summary); err != nil {
		err = damaged("commit %s%s: %v", s.tenant, rev, err)
	}
	return sum, c.id, err
}

// storedSummary reads a stored commit without its changes.
func (s *snapshot) storedSummary(rev ledger.Revision) (storedCommit, error) {
	key := commitKey(s.tenant, rev)
	b := s.lookup(&s.commits, bucketCommits, key)
	if b == nil {
		return storedCommit{}, damaged("commit %s%s is missing", s.tenant, rev)
	}
	return summarized(key, b)
}

// dropped reports whether a commit is gone with the history that is not kept.
func (s *snapshot) dropped(rev ledger.Revision) bool {
	return rev < s.kept && s.lookup(&s.commits, bucketCommits, commitKey(s.tenant, rev)) == nil
}

// timeOf is the effective time of a commit.
func (s *snapshot) timeOf(r ledger.Revision) (int64, error) {
	if c, ok := s.tailCommit(r); ok {
		return effectiveTime(s.marks, r, c.Time.UnixNano()), nil
	}
	c, err := s.stored(r)
	return effectiveTime(s.marks, r, c.time), err
}

// notKept is the error about a revision or a time before the kept history.
func (s *snapshot) notKept(rev ledger.Revision, at time.Time) error {
	first, err := s.timeOf(s.kept)
	if err != nil {
		return err
	}
	return &ledger.HistoryError{Tenant: s.tenant, Revision: rev, Time: at, First: s.kept, FirstTime: time.Unix(0, first), Upstream: s.r.cfg.Upstream}
}
