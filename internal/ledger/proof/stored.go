package proof

import (
	"bytes"
	"errors"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"
)

// Stored is a tree's file that no process writes to, which is compared with the
// journal: it must be what the commits make, and nothing more. It is not changed. It is
// used by one goroutine.
type Stored struct {
	// Position is the last message whose commits the file has.
	Position ledger.Sequence
	// Released is the newest checkpoint that the file knows to be in the stream of
	// checkpoints, and ReleasedAt its sequence there; 0 if there is none.
	Released   Checkpoint
	ReleasedAt ledger.Sequence

	store   *store
	state   treeState
	tx      *bolt.Tx
	roots   Roots
	block   []byte      // the hashes of the block that is being filled
	blocks  int64       // that were filled
	records int         // that were compared
	stored  []tlog.Hash // of one leaf
}

// OpenStored opens the file. Errors of IsDamage mean that it is not what was
// written.
func OpenStored(path string) (f *Stored, err error) {
	f = &Stored{store: &store{}}
	if f.store.db, err = kind.OpenReadOnly(path); err != nil {
		return nil, err
	}
	if err := f.load(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *Stored) load() (err error) {
	defer kind.Catch(&err)() // before the file is closed
	err = f.store.view(func(tx *bolt.Tx) error {
		for _, leaves := range []bool{true, false} { // what is read, and what is free
			if err := kind.CheckPages(tx, leaves); err != nil {
				return err
			}
		}
		return f.store.load(tx)
	})
	if err != nil {
		return err
	}
	if f.state, err = f.store.state(); err != nil {
		return err
	}
	if f.state.position == 0 && (f.state.size != 0 || f.state.root != new(Roots).Root()) {
		return damaged("it has %d commits and the root %s of no message", f.state.size, f.state.root)
	}
	f.Position, f.ReleasedAt = f.state.position, f.state.released.sequence
	f.Released = Checkpoint{Epoch: f.store.epoch, Size: f.state.released.size, Root: f.state.released.root}
	f.tx, err = f.store.db.Begin(false)
	return err
}

// Epoch is the ledger that the file belongs to.
func (f *Stored) Epoch() ledger.Epoch { return f.store.epoch }

// Close closes the file.
func (f *Stored) Close() error {
	if f.tx != nil {
		_ = f.tx.Rollback() // of a read transaction: only "already closed"
	}
	return f.store.db.Close()
}

// IsDamage reports whether an error means that a tree's file differs from what was
// written.
func IsDamage(err error) bool { return errors.Is(err, boltfile.ErrDamaged) }

// Run compares the next commits of the message at seq: commits of one tenant that are
// next to each other in it.
func (f *Stored) Run(seq ledger.Sequence, t ledger.Tenant, first ledger.Revision, ids []ledger.CommitID) (err error) {
	if seq > f.Position {
		return nil
	}
	defer kind.Catch(&err)()
	key := recordKey(t, first)
	if !f.holds(bucketRecords, key, span{first, f.roots.Size(), int64(len(ids))}.bytes()) {
		return damaged("%s%s is not where the journal has it", t, first)
	}
	f.records++
	for _, id := range ids {
		f.stored = f.roots.Add(tlog.Hash(id), f.stored[:0])
		for _, h := range f.stored {
			f.block = append(f.block, h[:]...)
			if len(f.block) == blockHashes*tlog.HashSize {
				if err := f.compareBlock(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// End ends the message at seq.
func (f *Stored) End(seq ledger.Sequence) (err error) {
	if seq != f.Position {
		return nil
	}
	defer kind.Catch(&err)()
	if len(f.block) > 0 {
		if err := f.compareBlock(); err != nil {
			return err
		}
	}
	if f.roots.Size() != f.state.size || f.roots.Root() != f.state.root {
		return damaged("it has %d commits and the root %s, and the journal %d and %s",
			f.state.size, f.state.root, f.roots.Size(), f.roots.Root())
	}
	return nil
}

func (f *Stored) compareBlock() error {
	if !f.holds(bucketHashes, blockKey(f.blocks), f.block) {
		return damaged("block %d is not what the journal makes", f.blocks)
	}
	f.blocks++
	f.block = f.block[:0]
	return nil
}

// holds reports whether the file has exactly that entry.
func (f *Stored) holds(bucket, key, body []byte) bool {
	got, ok := boltfile.Unseal(key, f.tx.Bucket(bucket).Get(key))
	return ok && bytes.Equal(got, body)
}

// NothingMore checks, after everything was compared, that there are no other entries.
func (f *Stored) NothingMore() (err error) {
	defer kind.Catch(&err)()
	want := map[string]int{string(bucketMeta): 3, string(bucketHashes): int(f.blocks), string(bucketRecords): f.records}
	return f.store.view(func(tx *bolt.Tx) error { return kind.CheckCounts(tx, "the journal makes", want) })
}
