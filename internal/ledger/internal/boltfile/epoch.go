package boltfile

import (
	"errors"

	"github.com/stelehq/stele/internal/ledger"
	bolt "go.etcd.io/bbolt"
)

// Meta is the bucket that identifies the file. Its entries format and epoch are the
// same in every kind.
var Meta = []byte("meta")

var (
	metaFormat = []byte("format")
	metaEpoch  = []byte("epoch")
)

// Create makes the buckets of a new file, and writes which ledger it
// belongs to.
func (k *Kind) Create(tx *bolt.Tx, e ledger.Epoch) error {
	for _, name := range k.Buckets {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(Meta)
	return errors.Join(
		meta.Put(metaFormat, []byte(k.Format)),
		meta.Put(metaEpoch, e[:]),
	)
}

// Epoch reads which ledger the file belongs to. It has all buckets, and this format.
func (k *Kind) Epoch(tx *bolt.Tx) (e ledger.Epoch, err error) {
	for _, name := range k.Buckets {
		if tx.Bucket(name) == nil {
			return e, k.Damaged("it has no bucket %q", name)
		}
	}
	meta := tx.Bucket(Meta)
	if got := meta.Get(metaFormat); string(got) != k.Format {
		return e, k.Damaged("its format is %q, not %q", got, k.Format)
	}
	if copy(e[:], meta.Get(metaEpoch)) != len(e) {
		return e, k.Damaged("it has no epoch")
	}
	return e, nil
}
