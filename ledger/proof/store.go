package proof

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/stelehq/stele/ledger"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/mod/sumdb/tlog"
)

// store is the trees' file. One goroutine appends, one notes what was released;
// anybody reads.
type store struct {
	db *bolt.DB
	origin
}

// origin is the ledger that a tree is of.
type origin struct {
	epoch  ledger.Epoch
	shards int
}

// maxShards is more than any ledger has; beyond it the number is damage.
const maxShards = 1 << 16

// openStore opens the file; where there is none, it makes one for the ledger
// that created describes, or answers nil when that is nil. An error with
// errDamaged in its chain means that the file should be set aside.
func openStore(path string, created *origin) (*store, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && created == nil {
		return nil, nil
	}
	s := &store{}
	if err := s.open(path, created); err != nil {
		if s.db != nil {
			err = errors.Join(err, s.db.Close())
		}
		return nil, err
	}
	return s, nil
}

func (s *store) open(path string, created *origin) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer catchDamage(&err)
	s.db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("open tree %s: another process has it open", path)
	case errors.Is(err, os.ErrPermission), errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("open tree: %w", err)
	case err != nil:
		return damaged("open %s: %v", path, err)
	}
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
		s.origin = *created
		return s.create()
	}
	return s.view(s.load)
}

func (s *store) create() error {
	return s.update(func(tx *bolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		empty, err := tlog.TreeHash(0, hashes{})
		if err != nil {
			return err
		}
		for i := range s.shards {
			if err := writeShard(tx, i, shardState{root: empty}); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		return errors.Join(
			meta.Put(metaFormat, []byte(format)),
			meta.Put(metaEpoch, s.epoch[:]),
			meta.Put(metaShards, binary.AppendUvarint(nil, uint64(s.shards))),
		)
	})
}

// load reads what the file is of, and checks that every tree has the root that
// was written with its size.
func (s *store) load(tx *bolt.Tx) error {
	for _, name := range buckets {
		if tx.Bucket(name) == nil {
			return damaged("it has no bucket %q", name)
		}
	}
	meta := tx.Bucket(bucketMeta)
	if got := meta.Get(metaFormat); string(got) != format {
		return damaged("its format is %q, not %q", got, format)
	}
	if copy(s.epoch[:], meta.Get(metaEpoch)) != len(s.epoch) {
		return damaged("it has no epoch")
	}
	shards, n := binary.Uvarint(meta.Get(metaShards))
	if n <= 0 || shards == 0 || shards > maxShards {
		return damaged("it has %d shards", shards)
	}
	s.shards = int(shards)
	for i := range s.shards {
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
		for i := range s.shards {
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

// view and update turn a panic of bbolt, which trusts its pages, and a fault in
// the memory map into errDamaged.
func (s *store) view(read func(*bolt.Tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer catchDamage(&err)
	return s.db.View(read)
}

func (s *store) update(write func(*bolt.Tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer catchDamage(&err)
	return s.db.Update(write)
}

func catchDamage(err *error) {
	if p := recover(); p != nil {
		*err = damaged("%v\n%s", p, debug.Stack())
	}
}

func (s *store) close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close tree: %w", err)
	}
	return nil
}
