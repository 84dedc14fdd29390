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

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/internal/boltfile"
	bolt "go.etcd.io/bbolt"
)

// store is one bbolt file and what is applied but not in it yet.
//
// A commit becomes visible when it enters the active tail. A flush freezes the
// active tail, writes it in one transaction and drops it. Entries are named by
// revision, so having one in both a tail and the file is harmless; what must
// never happen is that a reader at revision r sees a file that is newer than r.
// A reader therefore takes r and its transaction under one read lock, and a
// freeze needs the write lock.
type store struct {
	db *bolt.DB
	boltfile.Origin
	// gone is closed when the file is rebuilt: nothing is applied here any more.
	gone chan struct{}

	// flushing lets one flush run at a time.
	flushing sync.Mutex

	mu      sync.RWMutex // guards everything below
	tenants map[ledger.Tenant]*tenantState
	active  *tail
	frozen  *tail // nil unless a flush is running
	shard   []shardState
	// room is closed and replaced when a flush has made room in the tail.
	room chan struct{}

	// full holds one token when the active tail is worth a flush.
	full chan struct{}
}

type tenantState struct {
	tenantRecord
	// moved is closed when the head moves; nil while nobody waits.
	moved chan struct{}
}

// shardState is how far one shard was followed.
type shardState struct {
	position ledger.Sequence
	// last is the journal's last sequence when it was last asked.
	last ledger.Sequence
	// current is the newest moment at which the replica is known to have held
	// everything; zero while it never was.
	current time.Time
	// The replica will have been current at asked once position reaches due.
	due   ledger.Sequence
	asked time.Time
}

// A tail is flushed when it takes this much memory, in bytes. A second one may
// fill meanwhile; then whoever applies waits.
const flushBytes = 64 << 20

// A mapping that grows must wait for all readers, which may wait for the lock
// that a new reader holds; so it starts larger than a replica gets: 64 GiB where
// pointers have 64 bits. This is address space, not memory.
const initialMap = 1 << (30 + 6*(^uint(0)>>63))

// openStore opens the file; where there is none, it makes one for the ledger
// that created describes, or answers nil when that is nil. An error with
// boltfile.ErrDamaged in its chain means that the file should be set aside.
func openStore(path string, tenants []ledger.Tenant, created *boltfile.Origin) (*store, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && created == nil {
		return nil, nil
	}
	db, err := kind.Open(path, initialMap)
	if err != nil {
		return nil, err
	}
	s := &store{
		db:      db,
		tenants: make(map[ledger.Tenant]*tenantState),
		active:  newTail(),
		room:    make(chan struct{}),
		full:    make(chan struct{}, 1),
		gone:    make(chan struct{}),
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

// load reads the file's meta data, or writes that of a new one.
func (s *store) load(tenants []ledger.Tenant, created *boltfile.Origin) (err error) {
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
		s.Origin = *created
		s.shard = make([]shardState, s.Shards)
		return s.create(tenants)
	}
	return s.db.View(func(tx *bolt.Tx) (err error) {
		if s.Origin, err = kind.Origin(tx); err != nil {
			return err
		}
		meta := tx.Bucket(bucketMeta)
		s.shard = make([]shardState, s.Shards)
		if got := meta.Get(metaTenants); !bytes.Equal(got, identity(tenants)) {
			return damaged("it was built for other tenants: %q", got)
		}
		for i := range s.shard {
			key := metaShard(i)
			if b := meta.Get(key); b != nil {
				if s.shard[i].position, s.shard[i].current, err = parsePosition(key, b); err != nil {
					return err
				}
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
			s.tenants[t] = &tenantState{tenantRecord: rec}
			// The chain's end is in the file, or the file is not what was written.
			c, err := readCommit(tx, t, rec.head.Revision)
			if err != nil {
				return err
			}
			if c.Epoch != s.Epoch {
				return damaged("%s%s is of the ledger %s, and the file of %s", t, c.Revision, c.Epoch, s.Epoch)
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
		if err := kind.Create(tx, s.Origin); err != nil {
			return err
		}
		return tx.Bucket(bucketMeta).Put(metaTenants, identity(tenants))
	})
	if err != nil {
		return fmt.Errorf("create replica: %w", err)
	}
	return nil
}

// apply makes a record's commits visible, all at once. Commits that are already
// there must be the same ones. It returns those that are new.
func (s *store) apply(seq ledger.Sequence, commits []*ledger.Commit) ([]*ledger.Commit, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := commits[0].Tenant
	ts := s.tenants[t]
	var head ledger.Head
	if ts != nil {
		head = ts.head
	}
	known := 0
	for ; known < len(commits) && commits[known].Revision <= head.Revision; known++ {
		if err := s.same(commits[known]); err != nil {
			return nil, err
		}
	}
	fresh := commits[known:]
	if len(fresh) == 0 {
		return nil, nil
	}
	next := head
	for _, c := range fresh {
		if c.Epoch != s.Epoch {
			return nil, &ledger.ChainError{Tenant: t, Revision: c.Revision, Reason: fmt.Sprintf("it is of the ledger %s, not %s", c.Epoch, s.Epoch)}
		}
		if c.Tenant != t {
			return nil, &ledger.ChainError{Tenant: c.Tenant, Revision: c.Revision, Reason: fmt.Sprintf("it is in a record of %s", t)}
		}
		if err := c.Follows(next); err != nil {
			return nil, err
		}
		next = c.Head(seq)
	}
	if ts == nil {
		ts = &tenantState{}
		s.tenants[t] = ts
	}
	for _, c := range fresh {
		s.active.add(c, seq)
		ts.changes += uint64(len(c.Changes))
	}
	if s.active.bytes > flushBytes {
		select {
		case s.full <- struct{}{}:
		default:
		}
	}
	ts.head = next
	if ts.moved != nil {
		close(ts.moved)
		ts.moved = nil
	}
	return fresh, nil
}

// same checks that a commit that was applied before is the one that the journal
// holds now.
func (s *store) same(c *ledger.Commit) error {
	have, err := s.commitLocked(c.Tenant, c.Revision)
	if err != nil {
		return err
	}
	if have.ID != c.ID {
		return &ledger.ChainError{Tenant: c.Tenant, Revision: c.Revision,
			Reason: fmt.Sprintf("the journal holds %s where the replica has seen %s", c.ID, have.ID)}
	}
	return nil
}

// commitLocked wants s.mu held, for reading at least.
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
	if _, err := unseal(bucketCommits, key, b); err != nil {
		return storedCommit{}, err
	}
	return splitCommit(key, b)
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

// advance notes that everything up to seq was applied.
func (s *store) advance(shard int, seq ledger.Sequence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := &s.shard[shard]
	sh.position = max(sh.position, seq)
	sh.last = max(sh.last, seq)
	sh.settle()
}

// observe notes that the journal's last sequence was last at that time.
func (s *store) observe(shard int, last ledger.Sequence, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := &s.shard[shard]
	sh.last = last
	if sh.asked.IsZero() {
		sh.due, sh.asked = last, at
	}
	if sh.position >= last {
		sh.due, sh.asked = last, at
	}
	sh.settle()
}

func (sh *shardState) settle() {
	if !sh.asked.IsZero() && sh.position >= sh.due {
		if sh.asked.After(sh.current) {
			sh.current = sh.asked
		}
		sh.asked = time.Time{}
	}
}

// waitRoom blocks while the tails hold more than memory should.
func (s *store) waitRoom(done <-chan struct{}) {
	for {
		s.mu.RLock()
		full, room := s.frozen != nil && s.active.bytes > flushBytes, s.room
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

func (s *store) position(shard int) ledger.Sequence {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.shard[shard].position
}

func (s *store) head(t ledger.Tenant) ledger.Head {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if ts := s.tenants[t]; ts != nil {
		return ts.head
	}
	return ledger.Head{}
}

// wait blocks until the tenant's head is what is wanted.
func (s *store) wait(ctx context.Context, t ledger.Tenant, reached func(ledger.Head) bool) error {
	for {
		s.mu.Lock()
		ts := s.tenants[t]
		if ts == nil {
			ts = &tenantState{}
			s.tenants[t] = ts
		}
		if reached(ts.head) {
			s.mu.Unlock()
			return nil
		}
		if ts.moved == nil {
			ts.moved = make(chan struct{})
		}
		moved := ts.moved
		s.mu.Unlock()
		select {
		case <-moved:
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
