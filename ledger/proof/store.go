package proof

import (
	"errors"
	"fmt"
	"os"

	"github.com/stelehq/stele/ledger/internal/boltfile"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"
)

// store is the trees' file. One goroutine appends, one notes what was released;
// anybody reads.
type store struct {
	db *bolt.DB
	boltfile.Origin
}

// openStore opens the file; where there is none, it makes one for the ledger
// that created describes, or answers nil when that is nil. An error with
// boltfile.ErrDamaged in its chain means that the file should be set aside.
func openStore(path string, created *boltfile.Origin) (*store, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && created == nil {
		return nil, nil
	}
	db, err := kind.Open(path, 0)
	if err != nil {
		return nil, err
	}
	s := &store{db: db}
	if err := s.open(created); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// open reads the file, or writes what a new one begins with.
func (s *store) open(created *boltfile.Origin) error {
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
		s.Origin = *created
		return s.create()
	}
	return s.view(s.load)
}

func (s *store) create() error {
	return s.update(func(tx *bolt.Tx) error {
		if err := kind.Create(tx, s.Origin); err != nil {
			return err
		}
		empty, err := tlog.TreeHash(0, hashes{})
		if err != nil {
			return err
		}
		for i := range s.Shards {
			if err := writeShard(tx, i, shardState{root: empty}); err != nil {
				return err
			}
		}
		return nil
	})
}

// load reads what the file is of, and checks that every tree has the root that
// was written with its size.
func (s *store) load(tx *bolt.Tx) (err error) {
	if s.Origin, err = kind.Origin(tx); err != nil {
		return err
	}
	for i := range s.Shards {
		state, err := readShard(tx, i)
		if err != nil {
			return err
		}
		for _, want := range []release{{0, state.size, state.root}, state.released} {
			if want.size == 0 {
				continue
			}
			if want.size < 0 || want.size > state.size {
				return damaged("shard %d has %d commits, and once had %d", i, state.size, want.size)
			}
			root, err := tlog.TreeHash(want.size, hashes{tx, i})
			if err != nil {
				return err
			}
			if root != want.root {
				return damaged("the root of shard %d at %d is %s, and was %s", i, want.size, root, want.root)
			}
		}
	}
	return nil
}

// release notes which checkpoints are in their stream, by shard.
func (s *store) release(released map[int]release) error {
	return s.update(func(tx *bolt.Tx) error {
		for shard, r := range released {
			state, err := readShard(tx, shard)
			if err != nil {
				return err
			}
			state.released = r
			if err := writeShard(tx, shard, state); err != nil {
				return err
			}
		}
		return nil
	})
}

// states are all shards'.
func (s *store) states() (out []shardState, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		for i := range s.Shards {
			state, err := readShard(tx, i)
			if err != nil {
				return err
			}
			out = append(out, state)
		}
		return nil
	})
	return out, err
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
