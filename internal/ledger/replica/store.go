package replica

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

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
	// gone is closed when the file is rebuilt: nothing is applied here any more.
	gone chan struct{}

	readings readings

	// flushing lets one flush run at a time.
	flushing sync.Mutex

	// system is the revision of ledger.System's head.
	system atomic.Uint64

	mu sync.RWMutex // guards everything below
	tenantStates
	active *tail
	frozen *tail // nil unless a flush is running
	progress
	// disordered is what Disordered returns.
	disordered uint64
	// moved is closed when the position moves; nil if nothing waits for it.
	moved chan struct{}
	// compared is set if the journal was found to hold what the file has seen, and confirmed
	// is the last message that it has delivered since, or that was compared.
	compared  bool
	confirmed ledger.Sequence
	// consumer delivers the journal's messages; nil before the first of them.
	consumer *journal.Consumer
	// arrival is closed when confirmed moves; nil if nothing waits for it.
	arrival chan struct{}
	// room is closed and replaced when a flush has made room in the tail.
	room chan struct{}

	// full holds one token when the active tail is worth a flush.
	full chan struct{}
}

// A tail is flushed when it takes this much memory, in bytes, unless Config says
// otherwise. A second one may fill meanwhile; after that, applying waits.
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
func openStore(cfg Config, created *ledger.Epoch) (s *store, err error) {
	if _, missing := os.Stat(cfg.Path); errors.Is(missing, os.ErrNotExist) {
		if created == nil {
			return nil, nil
		}
		defer func() {
			if err != nil {
				_ = os.Remove(cfg.Path) // it holds nothing yet, and must not be in the way of the next try
			}
		}()
	}
	db, err := kind.Open(cfg.Path, initialMap)
	if err != nil {
		return nil, err
	}
	s = &store{
		db: db, readings: readings{db: db},
		history: cfg.History, flushBytes: cmp.Or(cfg.TailBytes, flushBytes),
		tenantStates: tenantStates{
			tenants: make(map[ledger.Tenant]*tenantState),
			heirs:   make(map[ledger.Tenant]map[ledger.Tenant]bool),
		},
		active: newTail(),
		room:   make(chan struct{}),
		full:   make(chan struct{}, 1),
		gone:   make(chan struct{}),
	}
	if cfg.History.limited() {
		s.flushBytes = min(s.flushBytes, limitedFlushBytes)
	}
	if err := s.load(cfg.Tenants, created); err != nil {
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
			if t == ledger.System {
				s.system.Store(uint64(rec.head.Revision))
			}
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
			return s.loadBases(tx, t, rec.head.Revision)
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

func (s *store) close() error {
	s.readings.drain()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close replica: %w", err)
	}
	return nil
}
