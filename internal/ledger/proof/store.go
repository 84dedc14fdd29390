package proof

import (
	"errors"
	"fmt"
	"os"

	"github.com/stelehq/stele/internal/ledger"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"
)

// store is the tree's file. One goroutine appends, one records released checkpoints;
// any number of goroutines read.
type store struct {
	db    *bolt.DB
	epoch ledger.Epoch
}

// openStore opens the file. If it does not exist, openStore creates one for the ledger
// created, or returns nil if that is nil. An error with boltfile.ErrDamaged in its
// chain means that the file should be set aside.
func openStore(path string, created *ledger.Epoch) (s *store, err error) {
	if _, missing := os.Stat(path); errors.Is(missing, os.ErrNotExist) {
		if created == nil {
			return nil, nil
		}
		defer func() {
			if err != nil {
				_ = os.Remove(path) // it holds nothing yet, and must not be in the way of the next try
			}
		}()
	}
	db, err := kind.Open(path, 0)
	if err != nil {
		return nil, err
	}
	s = &store{db: db}
	if err := s.open(created); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// open reads the file, or initializes a new one.
func (s *store) open(created *ledger.Epoch) error {
	fresh := false
	if err := s.view(func(tx *bolt.Tx) error {
		fresh = tx.Bucket(bucketMeta) == nil
		return nil
	}); err != nil {
		return err
	}
	switch {
	case fresh && created == nil:
		return damaged("it is empty")
	case fresh:
		s.epoch = *created
		return s.create()
	}
	return s.view(s.load)
}

func (s *store) create() error {
	return s.update(func(tx *bolt.Tx) error {
		if err := kind.Create(tx, s.epoch); err != nil {
			return err
		}
		empty, err := tlog.TreeHash(0, hashes{})
		if err != nil {
			return err
		}
		return writeState(tx, treeState{root: empty})
	})
}

// load reads which ledger the file belongs to, and checks that the tree has the roots
// that were written with its sizes.
func (s *store) load(tx *bolt.Tx) (err error) {
	if s.epoch, err = kind.Epoch(tx); err != nil {
		return err
	}
	state, err := readState(tx)
	if err != nil {
		return err
	}
	for _, want := range []release{{0, state.size, state.root}, state.released} {
		if want.size == 0 {
			continue
		}
		if want.size < 0 || want.size > state.size {
			return damaged("the tree has %d commits, and once had %d", state.size, want.size)
		}
		root, err := tlog.TreeHash(want.size, hashes{tx})
		if err != nil {
			return err
		}
		if root != want.root {
			return damaged("the root at %d commits is %s, and was %s", want.size, root, want.root)
		}
	}
	return nil
}

// release notes the newest checkpoint in the stream of checkpoints.
func (s *store) release(r release) error {
	return s.update(func(tx *bolt.Tx) error {
		state, err := readState(tx)
		if err != nil {
			return err
		}
		state.released = r
		return writeState(tx, state)
	})
}

func (s *store) state() (state treeState, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		state, err = readState(tx)
		return err
	})
	return state, err
}

// view and update catch the damage that reading leads to.
func (s *store) view(read func(*bolt.Tx) error) (err error) {
	defer kind.Catch(&err)()
	return s.db.View(read)
}

func (s *store) update(write func(*bolt.Tx) error) (err error) {
	defer kind.Catch(&err)()
	return s.db.Update(write)
}

func (s *store) close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close tree: %w", err)
	}
	return nil
}
