package proof

import (
	"bytes"
	"errors"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/internal/boltfile"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"
)

// Witness is a tree's file that no process writes to, for comparison with the journal:
// it must contain exactly what the commits produce. It is read-only, and used by one
// goroutine.
type Witness struct {
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

// OpenWitness opens the file. Errors of IsDamage mean that its content differs from
// what was written.
func OpenWitness(path string) (w *Witness, err error) {
	w = &Witness{store: &store{}}
	if w.store.db, err = kind.OpenReadOnly(path); err != nil {
		return nil, err
	}
	if err := w.load(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *Witness) load() (err error) {
	defer kind.Catch(&err)() // before the file is closed
	err = w.store.view(func(tx *bolt.Tx) error {
		for _, leaves := range []bool{true, false} { // what is read, and what is free
			if err := kind.CheckPages(tx, leaves); err != nil {
				return err
			}
		}
		return w.store.load(tx)
	})
	if err != nil {
		return err
	}
	if w.state, err = w.store.state(); err != nil {
		return err
	}
	if w.state.position == 0 && (w.state.size != 0 || w.state.root != new(Roots).Root()) {
		return damaged("it has %d commits and the root %s of no message", w.state.size, w.state.root)
	}
	w.Position, w.ReleasedAt = w.state.position, w.state.released.sequence
	w.Released = Checkpoint{Epoch: w.store.epoch, Size: w.state.released.size, Root: w.state.released.root}
	w.tx, err = w.store.db.Begin(false)
	return err
}

// Epoch is the ledger that the file belongs to.
func (w *Witness) Epoch() ledger.Epoch { return w.store.epoch }

// Close closes the file.
func (w *Witness) Close() error {
	if w.tx != nil {
		_ = w.tx.Rollback() // of a read transaction: only "already closed"
	}
	return w.store.db.Close()
}

// IsDamage reports whether an error means that a tree's file differs from what was
// written.
func IsDamage(err error) bool { return errors.Is(err, boltfile.ErrDamaged) }

// Run compares the next commits of the message at seq: commits of one tenant that are
// next to each other in it.
func (w *Witness) Run(seq ledger.Sequence, t ledger.Tenant, first ledger.Revision, ids []ledger.CommitID) (err error) {
	if seq > w.Position {
		return nil
	}
	defer kind.Catch(&err)()
	key := recordKey(t, first)
	if !w.holds(bucketRecords, key, span{first, w.roots.Size(), int64(len(ids))}.bytes()) {
		return damaged("%s%s is not where the journal has it", t, first)
	}
	w.records++
	for _, id := range ids {
		w.stored = w.roots.Add(tlog.Hash(id), w.stored[:0])
		for _, h := range w.stored {
			w.block = append(w.block, h[:]...)
			if len(w.block) == blockHashes*tlog.HashSize {
				if err := w.compareBlock(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// End ends the message at seq.
func (w *Witness) End(seq ledger.Sequence) (err error) {
	if seq != w.Position {
		return nil
	}
	defer kind.Catch(&err)()
	if len(w.block) > 0 {
		if err := w.compareBlock(); err != nil {
			return err
		}
	}
	if w.roots.Size() != w.state.size || w.roots.Root() != w.state.root {
		return damaged("it has %d commits and the root %s, and the journal %d and %s",
			w.state.size, w.state.root, w.roots.Size(), w.roots.Root())
	}
	return nil
}

func (w *Witness) compareBlock() error {
	if !w.holds(bucketHashes, blockKey(w.blocks), w.block) {
		return damaged("block %d is not what the journal makes", w.blocks)
	}
	w.blocks++
	w.block = w.block[:0]
	return nil
}

// holds reports whether the file has exactly that entry.
func (w *Witness) holds(bucket, key, body []byte) bool {
	got, ok := boltfile.Unseal(key, w.tx.Bucket(bucket).Get(key))
	return ok && bytes.Equal(got, body)
}

// NothingMore checks, after everything was compared, that no other entries exist.
func (w *Witness) NothingMore() (err error) {
	defer kind.Catch(&err)()
	want := map[string]int{string(bucketMeta): 3, string(bucketHashes): int(w.blocks), string(bucketRecords): w.records}
	return w.store.view(func(tx *bolt.Tx) error { return kind.CheckCounts(tx, "the journal makes", want) })
}
