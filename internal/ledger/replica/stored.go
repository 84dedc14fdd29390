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

// run is the commits of one tenant that stand next to each other in a record.
type run struct {
	first ledger.Revision
	count uint64
}

func runKey(seq ledger.Sequence, t ledger.Tenant) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(t)), uint64(seq)), t...)
}

func (r run) value(key []byte) []byte {
	return boltfile.Seal(key, binary.AppendUvarint(binary.AppendUvarint(nil, uint64(r.first)), r.count))
}

func parseRun(key, sealed []byte) (seq ledger.Sequence, t ledger.Tenant, r run, err error) {
	b, err := unseal(bucketRecords, key, sealed)
	if err != nil {
		return 0, "", r, err
	}
	first, n := binary.Uvarint(b)
	count, m := binary.Uvarint(b[max(n, 0):])
	if len(key) < 9 || n <= 0 || m <= 0 || n+m != len(b) || first == 0 || count == 0 {
		return 0, "", r, damaged("record %x is cut", key)
	}
	return ledger.Sequence(binary.BigEndian.Uint64(key)), ledger.Tenant(key[8:]), run{ledger.Revision(first), count}, nil
}

// runEntries are the tenant's entries of the records that hold the commits. The first of
// these may continue a run that was flushed before, as a replica with an upstream gets
// commits one by one.
func runEntries(t ledger.Tenant, commits []tailCommit, stored func(key []byte) []byte) ([]entry, error) {
	var out []entry
	for len(commits) > 0 {
		seq := commits[0].sequence
		n := 1
		for n < len(commits) && commits[n].sequence == seq {
			n++
		}
		r := run{commits[0].Revision, uint64(n)}
		key := runKey(seq, t)
		if out == nil {
			if b := stored(key); b != nil {
				_, _, begun, err := parseRun(key, b)
				if err != nil {
					return nil, err
				}
				if begun.first < r.first {
					r = run{begun.first, uint64(r.first-begun.first) + r.count}
				}
			}
		}
		out = append(out, entry{key, r.value(key)})
		commits = commits[n:]
	}
	return out, nil
}

// runCheck compares the records with a tenant's commits, which come in their order.
type runCheck struct {
	tenant ledger.Tenant
	bucket *bolt.Bucket
	made   *made
	at     ledger.Sequence
	run    run // of the commits that came with at
}

func (c *runCheck) commit(rev ledger.Revision, seq ledger.Sequence) error {
	if seq == c.at {
		c.run.count++
		return nil
	}
	if err := c.end(); err != nil {
		return err
	}
	if seq < c.at {
		return damaged("%s%s is in message %d, and the commit before it in message %d", c.tenant, rev, seq, c.at)
	}
	c.at, c.run = seq, run{rev, 1}
	return nil
}

// end compares the entry of the run that is complete.
func (c *runCheck) end() error {
	if c.run.count == 0 {
		return nil
	}
	key := runKey(c.at, c.tenant)
	if !bytes.Equal(c.bucket.Get(key), c.run.value(key)) {
		return damaged("record %d does not lead to %s%s", c.at, c.tenant, c.run.first)
	}
	c.made.record()
	return nil
}
