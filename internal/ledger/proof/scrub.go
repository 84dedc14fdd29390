package proof

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/stelehq/stele/internal/ledger"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"
)

// scrubStep is how many entries are read in one transaction: a writer that needs
// a larger file waits for it.
const scrubStep = 4096

// scrub reads the whole file once after it was opened. Checksums reveal changed
// entries; entries that a damaged page of bbolt hides are detected by counting: every
// block exists, a tenant's records follow each other, and all records add up to the
// size.
func (s *store) scrub(ctx context.Context) error {
	state, err := s.state()
	if err != nil {
		return err
	}
	stored := tlog.StoredHashCount(state.size)
	for from := int64(0); from*blockHashes < stored; from += scrubStep {
		if err := s.view(func(tx *bolt.Tx) error { return checkBlocks(tx, from, stored) }); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	var w recordWalk
	for !w.done {
		if err := s.view(w.step); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if w.leaves < state.size { // concurrently appended records may be counted as well
		return damaged("the records have %d commits, and the tree %d", w.leaves, state.size)
	}
	return nil
}

// checkBlocks reads the blocks from one on, as far as stored hashes are in them.
func checkBlocks(tx *bolt.Tx, from, stored int64) error {
	for n := from; n < from+scrubStep && n*blockHashes < stored; n++ {
		b, err := hashes{tx}.block(n)
		if err != nil {
			return err
		}
		if want := min(stored-n*blockHashes, blockHashes); int64(len(b)) < want*tlog.HashSize {
			return damaged("block %d has less than %d hashes", n, want)
		}
	}
	return nil
}

// recordWalk reads the records in their order.
type recordWalk struct {
	leaves int64
	last   []byte // the key that was read last
	tenant []byte // of it, and the revision that must come next
	next   ledger.Revision
	done   bool
}

func (w *recordWalk) step(tx *bolt.Tx) error {
	b := tx.Bucket(bucketRecords)
	c := b.Cursor()
	k, v := c.First()
	if w.last != nil {
		if k, _ = c.Seek(w.last); !bytes.Equal(k, w.last) {
			return damaged("record %x is gone", w.last)
		}
		k, v = c.Next()
	}
	for n := 0; n < scrubStep; n++ {
		if k == nil {
			w.done = true
			return nil
		}
		if err := w.entry(b, k, v); err != nil {
			return err
		}
		k, v = c.Next()
	}
	return nil
}

func (w *recordWalk) entry(b *bolt.Bucket, k, v []byte) error {
	i := bytes.IndexByte(k, 0)
	if i <= 0 || len(k) != i+9 || bytes.Compare(k, w.last) <= 0 {
		return damaged("record %x is out of place", k)
	}
	first := ledger.Revision(binary.BigEndian.Uint64(k[i+1:]))
	s, err := parseSpan(k, first, v)
	if err != nil {
		return err
	}
	if !bytes.Equal(w.tenant, k[:i]) {
		w.tenant, w.next = bytes.Clone(k[:i]), 1
	}
	if first != w.next {
		return damaged("the record of %s%s is missing", w.tenant, w.next)
	}
	if b.Get(k) == nil { // a reader comes another way
		return damaged("record %x is not found by its key", k)
	}
	w.next = s.last() + 1
	w.leaves += s.count
	w.last = bytes.Clone(k)
	return nil
}
