package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	bolt "go.etcd.io/bbolt"
)

// store is one bbolt file and the applied commits that are not in it yet.
//
// A commit becomes visible when it enters the active tail. A flush freezes the active
// tail, writes it in one transaction and drops it. Entries are named by revision, so
// having one in both a tail and the file is harmless; but a reader at revision r must
// never see a file that is newer than r. A reader therefore takes r and its transaction
// under one read lock, and a freeze needs the write lock.
type store struct {
	db      *bolt.DB
	epoch   ledger.Epoch
	history History
	// flushBytes is the size of a tail, in bytes, at which it is flushed.
	flushBytes int
	// pruneChanges is about how many changes' commits a transaction drops.
	pruneChanges int
	// gone is closed when the file is rebuilt: nothing is applied here any more.
	gone chan struct{}

	// flushing lets one flush run at a time.
	flushing sync.Mutex

	mu      sync.RWMutex // guards everything below
	tenants map[ledger.Tenant]*tenantState
	active  *tail
	frozen  *tail // nil unless a flush is running
	progress
	// disordered is what Disordered returns.
	disordered uint64
	// moved is closed when the position moves; nil if nothing waits for it.
	moved chan struct{}
	// room is closed and replaced when a flush has made room in the tail.
	room chan struct{}

	// full holds one token when the active tail is worth a flush.
	full chan struct{}
}

type tenantState struct {
	tenantRecord
	// start is the first revision that readers may ask for. It is at or after kept: it
	// moves before the file loses older history.
	start ledger.Revision
	// moved is closed when the head moves; nil while no reader waits.
	moved chan struct{}
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

// A tail is flushed when it takes this much memory, in bytes. A second one may fill
// meanwhile; after that, applying waits.
const flushBytes = 64 << 20

// limitedFlushBytes is flushBytes of a replica that drops history: history that is
// dropped soon must not make the file large.
const limitedFlushBytes = 8 << 20

// A mapping that grows must wait for all readers, which may wait for the lock
// that a new reader holds; so it starts larger than a replica gets: 64 GiB where
// pointers have 64 bits. This is address space, not memory.
const initialMap = 1 << (30 + 6*(^uint(0)>>63))

// openStore opens the file. If it does not exist, openStore creates one for the ledger
// created, or returns nil if that is nil. An error with boltfile.ErrDamaged in its
// chain means that the file should be set aside.
func openStore(path string, tenants []ledger.Tenant, h History, created *ledger.Epoch) (*store, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && created == nil {
		return nil, nil
	}
	db, err := kind.Open(path, initialMap)
	if err != nil {
		return nil, err
	}
	s := &store{
		db:      db,
		history: h, flushBytes: flushBytes, pruneChanges: maxPruneChanges,
		tenants: make(map[ledger.Tenant]*tenantState),
		active:  newTail(),
		room:    make(chan struct{}),
		full:    make(chan struct{}, 1),
		gone:    make(chan struct{}),
	}
	if h.limited() {
		s.flushBytes = limitedFlushBytes
	}
	if err := s.load(tenants, created); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

func identity(tenants []ledger.Tenant) []byte {
	names := make([]string, len(tenants))
	for i, t := range tenants {
		names[i] = string(t)
	}
	slices.Sort(names)
	return []byte(strings.Join(names, ","))
}

// load reads the file's meta data, or initializes a new file.
func (s *store) load(tenants []ledger.Tenant, created *ledger.Epoch) (err error) {
	defer kind.Catch(&err)()
	fresh := false
	err = s.db.View(func(tx *bolt.Tx) error {
		if err := kind.CheckPages(tx, false); err != nil {
			return err
		}
		fresh = tx.Bucket(bucketMeta) == nil
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("read replica: %w", err)
	case fresh && created == nil:
		return damaged("it is empty")
	case fresh:
		s.epoch = *created
		return s.create(tenants)
	}
	return s.db.View(func(tx *bolt.Tx) (err error) {
		if s.epoch, err = kind.Epoch(tx); err != nil {
			return err
		}
		meta := tx.Bucket(bucketMeta)
		if got := meta.Get(metaTenants); !bytes.Equal(got, identity(tenants)) {
			return damaged("it was built for other tenants: %q", got)
		}
		if b := meta.Get(metaPosition); b != nil {
			if s.position, s.current, err = parsePosition(b); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketTenants).ForEach(func(k, v []byte) error {
			rec, err := parseTenantRecord(k, v)
			if err != nil {
				return err
			}
			t, err := ledger.ParseTenant(string(k))
			if err != nil {
				return damaged("tenant: %v", err)
			}
			s.tenants[t] = &tenantState{tenantRecord: rec, start: rec.kept}
			// The end of the chain is in the file; otherwise the file is damaged.
			c, err := readCommit(tx, t, rec.head.Revision)
			if err != nil {
				return err
			}
			if c.Epoch != s.epoch {
				return damaged("%s%s is of the ledger %s, and the file of %s", t, c.Revision, c.Epoch, s.epoch)
			}
			if c.ID != rec.head.ID {
				return damaged("the head of %s is %s, and its newest commit %s", t, rec.head.ID, c.ID)
			}
			return nil
		})
	})
}

func (s *store) create(tenants []ledger.Tenant) error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		if err := kind.Create(tx, s.epoch); err != nil {
			return err
		}
		return tx.Bucket(bucketMeta).Put(metaTenants, identity(tenants))
	})
	if err != nil {
		return fmt.Errorf("create replica: %w", err)
	}
	return nil
}

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

// checkedCommit takes a commit's entry apart when its checksum is right.
func checkedCommit(t ledger.Tenant, r ledger.Revision, key, b []byte) (storedCommit, error) {
	if b == nil {
		return storedCommit{}, damaged("commit %s%s is missing", t, r)
	}
	return wholeCommit(key, b)
}

// readCommit copies a commit out of the file.
func readCommit(tx *bolt.Tx, t ledger.Tenant, r ledger.Revision) (*ledger.Commit, error) {
	key := commitKey(t, r)
	stored, err := checkedCommit(t, r, key, tx.Bucket(bucketCommits).Get(key))
	if err != nil {
		return nil, err
	}
	c, err := ledger.DecodeCommit(bytes.Clone(stored.encoded))
	if err != nil {
		return nil, damaged("%v", err)
	}
	if c.Tenant != t || c.Revision != r {
		return nil, damaged("commit %s%s stands where %s%s should", c.Tenant, c.Revision, t, r)
	}
	return c, nil
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

func (p *progress) settle() {
	if !p.asked.IsZero() && p.position >= p.due {
		if p.asked.After(p.current) {
			p.current = p.asked
		}
		p.asked = time.Time{}
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

// pending says whether something waits to be flushed.
func (s *store) pending() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.active.bytes > 0 || s.frozen != nil
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

func (s *store) close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close replica: %w", err)
	}
	return nil
}
