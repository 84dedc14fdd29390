package replica

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
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

// maxIdle is how many readings wait for a view. A view is open for some microseconds, so a
// few are enough for the views that are open at the same time.
const maxIdle = 16

// readings are the read transactions of a store's file. To begin a transaction and to open its
// buckets costs more than to look up a key, so a view that closes leaves its own to the next one
// until the file is written to.
type readings struct {
	db *bolt.DB

	mu   sync.Mutex // guards the fields below
	idle []*reading
	// writes counts the beginnings and ends of transactions that write: one that reads and began
	// between the two may not see what was written. writing is set while one runs. Until it ends
	// nothing is idle: the file cannot grow while a transaction reads it.
	writes  uint64
	writing bool
	// open counts the transactions of views; drained, if set, is closed when there are none.
	open    int
	drained chan struct{}
}

// reading is a read transaction with a cursor for each bucket that was read. One view at a
// time uses it.
type reading struct {
	tx                                *bolt.Tx
	commits, keys, versions, requests *bolt.Cursor
	writes                            uint64 // to the file before it
}

// begin returns a transaction that reads the newest state of the file. Pass it to end.
func (rs *readings) begin() (*reading, error) {
	rs.mu.Lock()
	rs.open++
	if n := len(rs.idle); n > 0 {
		r := rs.idle[n-1]
		rs.idle = rs.idle[:n-1]
		rs.mu.Unlock()
		return r, nil
	}
	writes := rs.writes
	rs.mu.Unlock()
	tx, err := rs.db.Begin(false)
	if err != nil {
		rs.ended()
		return nil, fmt.Errorf("%w: read replica: %w", ledger.ErrUnavailable, err)
	}
	return &reading{tx: tx, writes: writes}, nil
}

// end takes a transaction back, or ends it if the file was written to since.
func (rs *readings) end(r *reading) {
	rs.mu.Lock()
	keep := !rs.writing && r.writes == rs.writes && len(rs.idle) < maxIdle
	if keep {
		rs.idle = append(rs.idle, r)
	}
	rs.mu.Unlock()
	if !keep {
		_ = r.tx.Rollback() // of a read transaction: only "already closed"
	}
	rs.ended()
}

// ended counts a view's transaction that is not open any more.
func (rs *readings) ended() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.open--; rs.open == 0 && rs.drained != nil {
		close(rs.drained)
		rs.drained = nil
	}
}

// drain ends the idle transactions, and waits until all views are closed. bbolt holds a lock
// while it closes a file and waits for its readers: a goroutine with two views would wait for
// that lock when it closes the first, and so never close the second.
func (rs *readings) drain() {
	rs.stop()
	rs.mu.Lock()
	var drained chan struct{}
	if rs.open > 0 {
		drained = make(chan struct{})
		rs.drained = drained
	}
	rs.mu.Unlock()
	if drained != nil {
		<-drained
	}
}

// update runs a transaction that writes. One runs at a time.
func (rs *readings) update(write func(*bolt.Tx) error) error {
	rs.stop()
	defer func() {
		rs.mu.Lock()
		defer rs.mu.Unlock()
		rs.writing = false
		rs.writes++
	}()
	return rs.db.Update(write)
}

// stop ends the idle transactions, and keeps none until update has returned.
func (rs *readings) stop() {
	rs.mu.Lock()
	idle := rs.idle
	rs.idle, rs.writing = nil, true
	rs.writes++
	rs.mu.Unlock()
	for _, r := range idle {
		_ = r.tx.Rollback()
	}
}

// cursor opens a bucket once in the life of the transaction.
func (r *reading) cursor(c **bolt.Cursor, bucket []byte) *bolt.Cursor {
	if *c == nil {
		*c = r.tx.Bucket(bucket).Cursor()
	}
	return *c
}
