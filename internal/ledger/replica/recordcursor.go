package replica

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"sort"

	"github.com/stelehq/stele/internal/ledger"
	bolt "go.etcd.io/bbolt"
)

// recordCursor reads the records that there were when it was opened. A tenant's commits
// up to its head in the file are in the file, the others in the tails.
type recordCursor struct {
	snap     snapshot
	position ledger.Sequence
	wanted   func(ledger.Tenant) bool
	backward bool
	filed    map[ledger.Tenant]ledger.Revision
	tails    []tailRecord // that are left, in the order of the journal
	runs     *bolt.Cursor
	k, b     []byte // under runs; nil if none is left

	// The rest of the record that is read: commits of a tail, or a run in the file.
	sequence ledger.Sequence
	commits  []*ledger.Commit
	tenant   ledger.Tenant
	run      run
}

// open moves the cursor to the first record after a position.
func (c *recordCursor) open(r *Replica, after ledger.Sequence, wanted func(ledger.Tenant) bool) (err error) {
	if wanted == nil {
		wanted = func(ledger.Tenant) bool { return true }
	}
	*c = recordCursor{snap: snapshot{r: r, store: r.store.Load()}, wanted: wanted, filed: make(map[ledger.Tenant]ledger.Revision)}
	defer c.snap.guard(&err)
	if c.snap.store == nil {
		return errNotBuilt
	}
	if err := c.begin(after); err != nil {
		return err
	}
	c.runs = c.snap.tx.Bucket(bucketRecords).Cursor()
	c.k, c.b = c.runs.Seek(runKey(after+1, ""))
	return nil
}

func (c *recordCursor) begin(after ledger.Sequence) error {
	s := c.snap.store
	s.mu.RLock()
	defer s.mu.RUnlock()
	c.position = s.position
	if s.frozen != nil {
		c.tails = s.frozen.recordsAfter(after)
	}
	c.tails = append(c.tails[:len(c.tails):len(c.tails)], s.active.recordsAfter(after)...)
	if !s.active.ordered || s.frozen != nil && !s.frozen.ordered {
		slices.SortStableFunc(c.tails, func(a, b tailRecord) int { return cmp.Compare(a.sequence, b.sequence) })
	}
	return c.snap.begin()
}

// turn moves the cursor to the last record before a position, 0 for the end, to read
// backward from there.
func (c *recordCursor) turn(before ledger.Sequence) (err error) {
	defer c.snap.guard(&err)
	if before == 0 {
		before = ^ledger.Sequence(0)
	}
	c.backward = true
	c.tails = c.tails[:sort.Search(len(c.tails), func(i int) bool { return c.tails[i].sequence >= before })]
	previous := c.runs.Prev
	if at, _ := c.runs.Seek(runKey(before, "")); at == nil {
		previous = c.runs.Last
	}
	c.k, c.b = previous()
	return nil
}

// next returns the next commit; ok is false at the end.
func (c *recordCursor) next() (rec Recorded, ok bool, err error) {
	defer c.snap.guard(&err)
	for {
		switch {
		case len(c.commits) > 0:
			commit := c.commits[0]
			if c.backward {
				commit = c.commits[len(c.commits)-1]
				c.commits = c.commits[:len(c.commits)-1]
			} else {
				c.commits = c.commits[1:]
			}
			if filed, err := c.inFile(commit); filed || err != nil {
				if err != nil {
					return rec, false, err
				}
				continue
			}
			return Recorded{c.sequence, commit.Tenant, commit.Revision, commit.Encoded, commit}, true, nil
		case c.run.count > 0:
			rev := c.run.first
			if c.run.count--; c.backward {
				rev += ledger.Revision(c.run.count)
			} else {
				c.run.first++
			}
			rec, err = c.stored(rev)
			return rec, err == nil, err
		case c.k == nil && len(c.tails) == 0:
			return rec, false, nil
		}
		if err := c.load(); err != nil {
			return rec, false, err
		}
	}
}

// load takes the next record, or a tenant's part of it, out of the tails or the file.
func (c *recordCursor) load() (err error) {
	if c.tailIsNext() {
		at := 0
		if c.backward {
			at = len(c.tails) - 1
		}
		c.sequence, c.commits = c.tails[at].sequence, c.tails[at].byTenant()
		if c.backward {
			c.tails = c.tails[:at]
		} else {
			c.tails = c.tails[1:]
		}
		return nil
	}
	if c.sequence, c.tenant, c.run, err = parseRun(c.k, c.b); err != nil {
		return err
	}
	if !c.wanted(c.tenant) {
		c.run.count = 0
	}
	if c.backward {
		c.k, c.b = c.runs.Prev()
	} else {
		c.k, c.b = c.runs.Next()
	}
	return nil
}

// tailIsNext reports whether the next record is one of the tails. Of the same record, the
// file's part comes first when reading forward.
func (c *recordCursor) tailIsNext() bool {
	switch {
	case len(c.tails) == 0:
		return false
	case c.k == nil:
		return true
	}
	filed := ledger.Sequence(binary.BigEndian.Uint64(c.k))
	if c.backward {
		return c.tails[len(c.tails)-1].sequence >= filed
	}
	return c.tails[0].sequence < filed
}

// inFile reports whether a commit of a tail is in the file as well, or not wanted.
func (c *recordCursor) inFile(commit *ledger.Commit) (bool, error) {
	if !c.wanted(commit.Tenant) {
		return true, nil
	}
	filed, known := c.filed[commit.Tenant]
	if !known {
		key := []byte(commit.Tenant)
		if b := c.snap.tx.Bucket(bucketTenants).Get(key); b != nil {
			rec, err := parseTenantRecord(key, b)
			if err != nil {
				return false, err
			}
			filed = rec.head.Revision
		}
		c.filed[commit.Tenant] = filed
	}
	return commit.Revision <= filed, nil
}

// stored reads a commit of the run. Its bytes are copied, because they must outlive the
// transaction.
func (c *recordCursor) stored(rev ledger.Revision) (Recorded, error) {
	key := commitKey(c.tenant, rev)
	found, err := checkedCommit(c.tenant, rev, key, c.snap.tx.Bucket(bucketCommits).Get(key))
	if err != nil {
		return Recorded{}, err
	}
	return Recorded{Sequence: c.sequence, Tenant: c.tenant, Revision: rev, Encoded: bytes.Clone(found.encoded)}, nil
}
