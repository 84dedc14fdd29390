package proof

import (
	"encoding/binary"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"
)

// The buckets. Every entry outside of meta begins with a checksum.
//
//	meta     format, epoch, state -> position, size, root, newest checkpoint
//	hashes   block                     -> 120 stored hashes, fewer in the last block
//	records  tenant 0 first revision   -> leaf of that commit, number of commits
//
// The stored hashes are tlog's, in its order; they only grow at the end,
// so a block, once full, never changes. A tenant's commits in a record are leaves
// that stand together, so the tenant's last entry that begins at or before a revision
// leads to its leaf: one seek.
var (
	bucketMeta    = boltfile.Meta
	bucketHashes  = []byte("hashes")
	bucketRecords = []byte("records")

	metaState = []byte("state")
)

// kind has the version of everything in this file.
var kind = &boltfile.Kind{
	Name:    "tree",
	Format:  "stele-tree-2",
	Buckets: [][]byte{bucketMeta, bucketHashes, bucketRecords},
}

// blockHashes is what fits with its key into a page of 4 KiB.
const blockHashes = 120

func damaged(what string, args ...any) error { return kind.Damaged(what, args...) }

func put(b *bolt.Bucket, key, body []byte) error { return b.Put(key, boltfile.Seal(key, body)) }

// unseal returns an entry's body, which is in the memory map: it is valid as long
// as its transaction.
func unseal(bucket, key, sealed []byte) ([]byte, error) {
	body, ok := boltfile.Unseal(key, sealed)
	if !ok {
		return nil, damaged("%s %x fails its checksum", bucket, key)
	}
	return body, nil
}

func blockKey(block int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(block)) }

func recordKey(t ledger.Tenant, first ledger.Revision) []byte {
	b := append(append(make([]byte, 0, len(t)+9), t...), 0)
	return binary.BigEndian.AppendUint64(b, uint64(first))
}

// treeState is how far the tree has grown.
type treeState struct {
	// position is the last message whose commits are leaves.
	position ledger.Sequence
	size     int64
	root     tlog.Hash
	// released is the newest checkpoint that is known to be in the stream of
	// checkpoints; its sequence there is 0 until one is.
	released release
}

type release struct {
	sequence ledger.Sequence
	size     int64
	root     tlog.Hash
}

const treeStateBytes = 8 + 8 + tlog.HashSize + 8 + 8 + tlog.HashSize

func (s treeState) bytes() []byte {
	b := make([]byte, 0, treeStateBytes)
	b = binary.BigEndian.AppendUint64(b, uint64(s.position))
	b = binary.BigEndian.AppendUint64(b, uint64(s.size))
	b = append(b, s.root[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.released.sequence))
	b = binary.BigEndian.AppendUint64(b, uint64(s.released.size))
	return append(b, s.released.root[:]...)
}

func readState(tx *bolt.Tx) (s treeState, err error) {
	b, err := unseal(bucketMeta, metaState, tx.Bucket(bucketMeta).Get(metaState))
	if err != nil {
		return s, err
	}
	if len(b) != treeStateBytes {
		return s, damaged("the state has %d bytes", len(b))
	}
	number := func() uint64 {
		n := binary.BigEndian.Uint64(b)
		b = b[8:]
		return n
	}
	s.position, s.size = ledger.Sequence(number()), int64(number())
	b = b[copy(s.root[:], b):]
	s.released.sequence, s.released.size = ledger.Sequence(number()), int64(number())
	copy(s.released.root[:], b)
	return s, nil
}

func writeState(tx *bolt.Tx, s treeState) error {
	return put(tx.Bucket(bucketMeta), metaState, s.bytes())
}

// hashes reads the stored hashes, as tlog.HashReader.
type hashes struct{ tx *bolt.Tx }

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	var block []byte
	have := int64(-1)
	for i, index := range indexes {
		if n := index / blockHashes; n != have {
			var err error
			if block, err = h.block(n); err != nil {
				return nil, err
			}
			have = n
		}
		at := int(index%blockHashes) * tlog.HashSize
		if at >= len(block) {
			return nil, damaged("block %d ends before hash %d", have, index)
		}
		copy(out[i][:], block[at:])
	}
	return out, nil
}

func (h hashes) block(n int64) ([]byte, error) {
	key := blockKey(n)
	b, err := unseal(bucketHashes, key, h.tx.Bucket(bucketHashes).Get(key))
	if err == nil && (len(b)%tlog.HashSize != 0 || len(b) > blockHashes*tlog.HashSize) {
		err = damaged("block %d has %d bytes", n, len(b))
	}
	return b, err
}

// span is a run's commits in the tree.
type span struct {
	first ledger.Revision
	leaf  int64
	count int64
}

func (s span) last() ledger.Revision { return s.first + ledger.Revision(s.count) - 1 }

func (s span) bytes() []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(s.leaf)), uint64(s.count))
}

// findSpan is the tenant's last run that begins at or before the revision; ok is false
// if it does not exist.
func findSpan(tx *bolt.Tx, t ledger.Tenant, at ledger.Revision) (s span, ok bool, err error) {
	c := tx.Bucket(bucketRecords).Cursor()
	want := recordKey(t, at)
	k, v := c.Seek(want)
	switch {
	case k == nil:
		k, v = c.Last()
	case string(k) != string(want):
		k, v = c.Prev()
	}
	if len(k) != len(want) || string(k[:len(t)+1]) != string(want[:len(t)+1]) {
		return s, false, nil
	}
	s, err = parseSpan(k, ledger.Revision(binary.BigEndian.Uint64(k[len(t)+1:])), v)
	return s, err == nil, err
}

func parseSpan(key []byte, first ledger.Revision, sealed []byte) (span, error) {
	b, err := unseal(bucketRecords, key, sealed)
	if err != nil {
		return span{}, err
	}
	leaf, n := binary.Uvarint(b)
	count, m := binary.Uvarint(b[max(n, 0):])
	if n <= 0 || m <= 0 || n+m != len(b) || count == 0 {
		return span{}, damaged("record %x is cut", key)
	}
	return span{first, int64(leaf), int64(count)}, nil
}
