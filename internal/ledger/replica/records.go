package replica

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"iter"
	"runtime/debug"
	"slices"
	"sort"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	bolt "go.etcd.io/bbolt"
)

// Recorded is a commit with its place in the journal.
type Recorded struct {
	Sequence ledger.Sequence
	Tenant   ledger.Tenant
	Revision ledger.Revision
	// Encoded is the commit's bytes.
	Encoded []byte

	commit *ledger.Commit // nil if it is not in memory
}

// Commit decodes the commit.
func (r *Recorded) Commit() (*ledger.Commit, error) {
	if r.commit != nil {
		return r.commit, nil
	}
	return ledger.DecodeCommit(r.Encoded)
}

// Records reads the commits of the records after a position, in the order of the journal.
type Records struct {
	r        *Replica
	after    ledger.Sequence
	wanted   func(ledger.Tenant) bool
	position ledger.Sequence
	cursor   recordCursor
}

// Records selects the commits of all records after a position. Commits of tenants that are
// not wanted are not read; a nil wanted selects all.
func (r *Replica) Records(after ledger.Sequence, wanted func(ledger.Tenant) bool) *Records {
	return &Records{r: r, after: after, wanted: wanted}
}

// Position is the one up to which everything was yielded, from which a caller can continue
// after the loop over All.
func (rs *Records) Position() ledger.Sequence { return rs.position }

// All yields the commits. The commits of one record, which has no order between tenants, are
// sorted by tenant. Those before the history that is kept are left out.
func (rs *Records) All() iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		c := &rs.cursor
		err := c.open(rs.r, rs.after, rs.wanted)
		defer c.snap.close()
		for err == nil {
			rec, ok, failed := c.next()
			if err = failed; err != nil {
				break
			}
			if !ok {
				rs.position = max(rs.after, c.position)
				return
			}
			if !yield(rec, nil) {
				rs.position = rec.Sequence - 1
				return
			}
		}
		yield(Recorded{}, err)
	}
}

// RecordsBefore yields the commits of all records before a position, 0 for the end, the
// newest first. wanted is that of Records.
func (r *Replica) RecordsBefore(before ledger.Sequence, wanted func(ledger.Tenant) bool) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		c := new(recordCursor)
		err := c.open(r, 0, wanted)
		defer c.snap.close()
		if err == nil {
			err = c.turn(before)
		}
		each(c.next, err, yield)
	}
}

// TenantRecords yields a tenant's commits after a revision, in their order. The error is a
// *ledger.HistoryError if some of them are not kept.
func (r *Replica) TenantRecords(t ledger.Tenant, after ledger.Revision) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		c := &tenantCursor{snap: snapshot{r: r, store: r.store.Load(), tenant: t}, last: after}
		defer c.snap.close()
		each(c.next, c.open(), yield)
	}
}

// tenantCursor reads a tenant's commits: those in the file, then those in the tails.
type tenantCursor struct {
	snap   snapshot
	last   ledger.Revision // that was read
	tails  []tailCommit
	prefix []byte
	file   *bolt.Cursor
	k, b   []byte // under file
}

// open opens the snapshot, also while the replica is not complete yet.
func (c *tenantCursor) open() (err error) {
	s := &c.snap
	defer s.guard(&err)
	if s.store == nil {
		return errNotBuilt
	}
	if err := c.begin(); err != nil {
		return err
	}
	if c.last+1 < s.kept {
		return s.notKept(c.last+1, time.Time{})
	}
	c.prefix = tenantKey(s.tenant)
	c.file = s.tx.Bucket(bucketCommits).Cursor()
	c.k, c.b = c.file.Seek(commitKey(s.tenant, c.last+1))
	return nil
}

func (c *tenantCursor) begin() error {
	s := &c.snap
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()
	s.active, s.frozen = s.store.active, s.store.frozen
	s.live = s.active.tenants[s.tenant] != nil
	if ts := s.store.tenants[s.tenant]; ts != nil {
		s.kept = ts.start
	}
	for _, tail := range []*tail{s.frozen, s.active} {
		if tail != nil && tail.tenants[s.tenant] != nil {
			c.tails = append(c.tails, tail.tenants[s.tenant].commits...)
		}
	}
	return s.begin()
}

func (c *tenantCursor) next() (rec Recorded, ok bool, err error) {
	t := c.snap.tenant
	defer c.snap.guard(&err)
	if bytes.HasPrefix(c.k, c.prefix) {
		c.last = ledger.Revision(binary.BigEndian.Uint64(c.k[len(c.prefix):]))
		found, err := checkedCommit(t, c.last, c.k, c.b)
		if err != nil {
			return rec, false, err
		}
		c.k, c.b = c.file.Next()
		return Recorded{Sequence: found.sequence, Tenant: t, Revision: c.last, Encoded: bytes.Clone(found.encoded)}, true, nil
	}
	for len(c.tails) > 0 {
		commit := c.tails[0]
		if c.tails = c.tails[1:]; commit.Revision > c.last { // else it is also in the file
			return Recorded{commit.sequence, t, commit.Revision, commit.Encoded, commit.Commit}, true, nil
		}
	}
	return rec, false, nil
}

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
