package boltfile

import (
	"encoding/binary"
	"errors"

	"github.com/stelehq/stele/ledger"
	bolt "go.etcd.io/bbolt"
)

// Meta is the bucket that says what the file is. Its entries format, epoch and
// shards are the same in every kind.
var Meta = []byte("meta")

var (
	metaFormat = []byte("format")
	metaEpoch  = []byte("epoch")
	metaShards = []byte("shards")
)

// maxShards is more than any ledger has; beyond it the number is damage.
const maxShards = 1 << 16

// Origin is the ledger that a file is of.
type Origin struct {
	Epoch  ledger.Epoch
	Shards int
}

// Create makes the buckets of a new file, and writes what it is of.
func (k *Kind) Create(tx *bolt.Tx, o Origin) error {
	for _, name := range k.Buckets {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(Meta)
	return errors.Join(
		meta.Put(metaFormat, []byte(k.Format)),
		meta.Put(metaEpoch, o.Epoch[:]),
		meta.Put(metaShards, binary.AppendUvarint(nil, uint64(o.Shards))),
	)
}

// Origin reads what the file is of. It has all buckets, and is of this format.
func (k *Kind) Origin(tx *bolt.Tx) (o Origin, err error) {
	for _, name := range k.Buckets {
		if tx.Bucket(name) == nil {
			return o, k.Damaged("it has no bucket %q", name)
		}
	}
	meta := tx.Bucket(Meta)
	if got := meta.Get(metaFormat); string(got) != k.Format {
		return o, k.Damaged("its format is %q, not %q", got, k.Format)
	}
	if copy(o.Epoch[:], meta.Get(metaEpoch)) != len(o.Epoch) {
		return o, k.Damaged("it has no epoch")
	}
	shards, n := binary.Uvarint(meta.Get(metaShards))
	if n <= 0 || shards == 0 || shards > maxShards {
		return o, k.Damaged("it has %d shards", shards)
	}
	o.Shards = int(shards)
	return o, nil
}
