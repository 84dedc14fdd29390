package proof

import (
	"bytes"
	"errors"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/internal/boltfile"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"
)

// Witness is a tree's file that nobody writes to, which is compared with the
// journal: it must be what the commits make, and nothing more. It is not changed.
type Witness struct {
	store
	Shards []*ShardWitness
}

// ShardWitness is one shard's part. It is used by one goroutine.
type ShardWitness struct {
	// Position is the last message whose commits the file has.
	Position ledger.Sequence
	// Released is the newest checkpoint that the file knows to be in the stream of
	// checkpoints, and ReleasedAt its sequence there; 0 when there is none.
	Released   Checkpoint
	ReleasedAt ledger.Sequence

	shard   int
	state   shardState
	tx      *bolt.Tx
	roots   Roots
	block   []byte      // the hashes of the block that is being filled
	blocks  int64       // that were filled
	records int         // that were compared
	stored  []tlog.Hash // of one leaf
}

// OpenWitness opens the file. Errors of IsDamage mean that it is not what was
// written.
func OpenWitness(path string) (w *Witness, err error) {
	w = &Witness{}
	if w.db, err = kind.OpenReadOnly(path); err != nil {
		return nil, err
	}
	if err := w.load(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *Witness) load() (err error) {
	defer kind.Catch(&err)() // before the file is closed
	err = w.view(func(tx *bolt.Tx) error {
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
	states, err := w.states()
	if err != nil {
		return err
	}
	for shard, st := range states {
		if st.position == 0 && (st.size != 0 || st.root != new(Roots).Root()) {
			return damaged("shard %d has %d commits and the root %s of no message", shard, st.size, st.root)
		}
		tx, err := w.db.Begin(false)
		if err != nil {
			return err
		}
		w.Shards = append(w.Shards, &ShardWitness{
			Position: st.position, ReleasedAt: st.released.sequence,
			Released: Checkpoint{Epoch: w.Origin.Epoch, Shard: shard, Size: st.released.size, Root: st.released.root},
			shard:    shard, state: st, tx: tx,
		})
	}
	return nil
}

// Epoch is the ledger that the file is of.
func (w *Witness) Epoch() ledger.Epoch { return w.Origin.Epoch }

// Close closes the file.
func (w *Witness) Close() error {
	for _, s := range w.Shards {
		_ = s.tx.Rollback() // of a read transaction: only "already closed"
	}
	return w.db.Close()
}

// IsDamage says whether an error means that a tree's file is not what was written.
func IsDamage(err error) bool { return errors.Is(err, boltfile.ErrDamaged) }

// Record compares the shard's next record.
func (s *ShardWitness) Record(seq ledger.Sequence, t ledger.Tenant, first ledger.Revision, ids []ledger.CommitID) (err error) {
	if seq > s.Position {
		return nil
	}
	defer kind.Catch(&err)()
	key := recordKey(t, first)
	if !s.holds(bucketRecords, key, span{first, s.roots.Size(), int64(len(ids))}.bytes()) {
		return damaged("%s%s is not where the journal has it", t, first)
	}
	s.records++
	for _, id := range ids {
		s.stored = s.roots.Add(tlog.Hash(id), s.stored[:0])
		for _, h := range s.stored {
			s.block = append(s.block, h[:]...)
			if len(s.block) == blockHashes*tlog.HashSize {
				if err := s.compareBlock(); err != nil {
					return err
				}
			}
		}
	}
	if seq < s.Position {
		return nil
	}
	if len(s.block) > 0 {
		if err := s.compareBlock(); err != nil {
			return err
		}
	}
	if s.roots.Size() != s.state.size || s.roots.Root() != s.state.root {
		return damaged("it says that shard %d has %d commits and the root %s, and the journal has %d and %s",
			s.shard, s.state.size, s.state.root, s.roots.Size(), s.roots.Root())
	}
	return nil
}

func (s *ShardWitness) compareBlock() error {
	if !s.holds(bucketHashes, blockKey(s.shard, s.blocks), s.block) {
		return damaged("block %d of shard %d is not what the journal makes", s.blocks, s.shard)
	}
	s.blocks++
	s.block = s.block[:0]
	return nil
}

// holds says whether the file has exactly that entry.
func (s *ShardWitness) holds(bucket, key, body []byte) bool {
	got, ok := boltfile.Unseal(key, s.tx.Bucket(bucket).Get(key))
	return ok && bytes.Equal(got, body)
}

// NothingMore checks, after every record was compared, that there are no other
// entries.
func (w *Witness) NothingMore() (err error) {
	defer kind.Catch(&err)()
	want := map[string]int{string(bucketMeta): 3, string(bucketShards): len(w.Shards)}
	for _, s := range w.Shards {
		want[string(bucketHashes)] += int(s.blocks)
		want[string(bucketRecords)] += s.records
	}
	return w.view(func(tx *bolt.Tx) error { return kind.CheckCounts(tx, "the journal makes", want) })
}
