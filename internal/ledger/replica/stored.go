package replica

import (
	"bytes"
	"encoding/binary"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	bolt "go.etcd.io/bbolt"
)

// storedCommit is a commit as the commits bucket holds it.
type storedCommit struct {
	time     int64
	sequence ledger.Sequence
	id       ledger.CommitID
	summary  []byte // the stored bytes up to the changes
	encoded  []byte // all of the stored bytes, in the memory map: valid as long as its transaction
}

// A commit's value in the file: the checksum of what follows up to the end of the summary,
// the checksum of the changes, the length of the summary, time, sequence, id, stored bytes.
// With checksums of their own, id and summary are read without reading the changes, which
// may be megabytes.
const commitHeader = 4 + 4 + 4 + 8 + 8 + len(ledger.CommitID{})

func (c storedCommit) value(key []byte) []byte {
	b := make([]byte, 4, commitHeader+len(c.encoded))
	b = binary.BigEndian.AppendUint32(b, boltfile.Checksum(key, c.encoded[len(c.summary):]))
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.summary)))
	b = binary.BigEndian.AppendUint64(b, uint64(c.time))
	b = binary.BigEndian.AppendUint64(b, uint64(c.sequence))
	b = append(b, c.id[:]...)
	b = append(b, c.encoded...)
	binary.BigEndian.PutUint32(b, boltfile.Checksum(key, b[4:commitHeader+len(c.summary)]))
	return b
}

// splitCommit does not check the checksums: a caller that takes one value out of a
// large commit checks that value.
func splitCommit(key, b []byte) (c storedCommit, err error) {
	if len(b) < commitHeader {
		return c, damaged("commit %q is cut", key)
	}
	size := binary.BigEndian.Uint32(b[8:])
	c.time = int64(binary.BigEndian.Uint64(b[12:]))
	c.sequence = ledger.Sequence(binary.BigEndian.Uint64(b[20:]))
	copy(c.id[:], b[28:])
	c.encoded = b[commitHeader:]
	if uint64(size) > uint64(len(c.encoded)) {
		return c, damaged("commit %q is cut", key)
	}
	c.summary = c.encoded[:size]
	return c, nil
}

// summarized checks everything except the commit's changes.
func summarized(key, b []byte) (storedCommit, error) {
	c, err := splitCommit(key, b)
	if err == nil && binary.BigEndian.Uint32(b) != boltfile.Checksum(key, b[4:commitHeader+len(c.summary)]) {
		err = damaged("%s %q fails its checksum", bucketCommits, key)
	}
	return c, err
}

// wholeCommit checks all of the commit.
func wholeCommit(key, b []byte) (storedCommit, error) {
	c, err := summarized(key, b)
	if err == nil && binary.BigEndian.Uint32(b[4:]) != boltfile.Checksum(key, c.encoded[len(c.summary):]) {
		err = damaged("%s %q fails its checksum", bucketCommits, key)
	}
	return c, err
}

// checkedCommit takes a commit's entry apart when its checksum is right.
func checkedCommit(t ledger.Tenant, r ledger.Revision, key, b []byte) (storedCommit, error) {
	if b == nil {
		return storedCommit{}, damaged("commit %s%s is missing", t, r)
	}
	return wholeCommit(key, b)
}

// readCommit copies a commit out of the file.
func readCommit(tx *bolt.Tx, t ledger.Tenant, r ledger.Revision) (*ledger.Commit, error) {
	key := commitKey(t, r)
	stored, err := checkedCommit(t, r, key, tx.Bucket(bucketCommits).Get(key))
	if err != nil {
		return nil, err
	}
	c, err := ledger.DecodeCommit(bytes.Clone(stored.encoded))
	if err != nil {
		return nil, damaged("%v", err)
	}
	if c.Tenant != t || c.Revision != r {
		return nil, damaged("commit %s%s stands where %s%s should", c.Tenant, c.Revision, t, r)
	}
	return c, nil
}
