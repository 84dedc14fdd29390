package replica

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
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

// Records yields the commits of all records after a position, in the order of the
// journal, until yield returns false. The commits of one record, which has no order
// between tenants, are sorted by tenant. Those before the history that is kept are left
// out. Commits of tenants that are not wanted are not
// read; a nil wanted selects all. It returns the position up to which everything was
// yielded, from which a caller can continue.
func (r *Replica) Records(after ledger.Sequence, wanted func(ledger.Tenant) bool, yield func(Recorded) bool) (ledger.Sequence, error) {
	return r.records(after, wanted, func(c *recordCursor) (ledger.Sequence, error) { return c.forward(after, yield) })
}

// RecordsBefore yields the commits of all records before a position, 0 for the end, the
// newest first, until yield returns false. It returns the position from which on
// everything was yielded; 0 at the beginning of the journal.
func (r *Replica) RecordsBefore(before ledger.Sequence, wanted func(ledger.Tenant) bool, yield func(Recorded) bool) (ledger.Sequence, error) {
	if before == 0 {
		before = ^ledger.Sequence(0)
	}
	return r.records(0, wanted, func(c *recordCursor) (ledger.Sequence, error) { return c.backward(before, yield) })
}

// recordCursor reads the records that there were when it was opened. A tenant's commits
// up to its head in the file are in the file, the others in the tails.
type recordCursor struct {
	tx       *bolt.Tx
	position ledger.Sequence
	tails    []tailRecord // in the order of the journal
	filed    map[ledger.Tenant]ledger.Revision
	wanted   func(ledger.Tenant) bool
}

func (r *Replica) records(after ledger.Sequence, wanted func(ledger.Tenant) bool, read func(*recordCursor) (ledger.Sequence, error)) (seq ledger.Sequence, err error) {
	s := r.store.Load()
	if s == nil {
		return 0, errNotBuilt
	}
	if wanted == nil {
		wanted = func(ledger.Tenant) bool { return true }
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer (&snapshot{r: r, store: s}).guard(&err)
	c := &recordCursor{wanted: wanted, filed: make(map[ledger.Tenant]ledger.Revision)}
	s.mu.RLock()
	c.position = s.position
	if s.frozen != nil {
		c.tails = s.frozen.recordsAfter(after)
	}
	c.tails = append(c.tails[:len(c.tails):len(c.tails)], s.active.recordsAfter(after)...)
	ordered := s.active.ordered && (s.frozen == nil || s.frozen.ordered)
	c.tx, err = s.db.Begin(false)
	s.mu.RUnlock()
	if err != nil {
		return 0, fmt.Errorf("%w: read replica: %w", ledger.ErrUnavailable, err)
	}
	defer c.tx.Rollback()
	if !ordered {
		slices.SortStableFunc(c.tails, func(a, b tailRecord) int { return cmp.Compare(a.sequence, b.sequence) })
	}
	return read(c)
}

// recordsAfter are the records of the tail after a position.
func (t *tail) recordsAfter(after ledger.Sequence) []tailRecord {
	if t.ordered {
		i := sort.Search(len(t.records), func(i int) bool { return t.records[i].sequence > after })
		return t.records[i:]
	}
	var out []tailRecord
	for _, r := range t.records {
		if r.sequence > after {
			out = append(out, r)
		}
	}
	return out
}

// byTenant are the record's commits in the order in which the file holds them: a record's
// tenants are sorted by name. A reader that stops in the middle of a record can so
// continue after a flush.
func (r tailRecord) byTenant() []*ledger.Commit {
	order := func(a, b *ledger.Commit) int { return cmp.Compare(a.Tenant, b.Tenant) }
	if slices.IsSortedFunc(r.commits, order) {
		return r.commits
	}
	commits := slices.Clone(r.commits)
	slices.SortStableFunc(commits, order)
	return commits
}

func (c *recordCursor) forward(after ledger.Sequence, yield func(Recorded) bool) (ledger.Sequence, error) {
	runs := c.tx.Bucket(bucketRecords).Cursor()
	k, b := runs.Seek(runKey(after+1, ""))
	tails := c.tails
	for k != nil || len(tails) > 0 {
		if len(tails) > 0 && (k == nil || tails[0].sequence < ledger.Sequence(binary.BigEndian.Uint64(k))) {
			for _, commit := range tails[0].byTenant() {
				if ok, err := c.tailed(tails[0].sequence, commit, yield); !ok || err != nil {
					return tails[0].sequence - 1, err
				}
			}
			tails = tails[1:]
			continue
		}
		seq, t, r, err := parseRun(k, b)
		if err != nil {
			return after, err
		}
		for i := range r.count {
			if ok, err := c.stored(seq, t, r.first+ledger.Revision(i), yield); !ok || err != nil {
				return seq - 1, err
			}
		}
		k, b = runs.Next()
	}
	return max(after, c.position), nil
}

func (c *recordCursor) backward(before ledger.Sequence, yield func(Recorded) bool) (ledger.Sequence, error) {
	runs := c.tx.Bucket(bucketRecords).Cursor()
	previous := runs.Prev
	if at, _ := runs.Seek(runKey(before, "")); at == nil {
		previous = runs.Last
	}
	k, b := previous()
	n := sort.Search(len(c.tails), func(i int) bool { return c.tails[i].sequence >= before })
	tails := c.tails[:n]
	for k != nil || len(tails) > 0 {
		if last := len(tails) - 1; last >= 0 && (k == nil || tails[last].sequence >= ledger.Sequence(binary.BigEndian.Uint64(k))) {
			for _, commit := range slices.Backward(tails[last].byTenant()) {
				if ok, err := c.tailed(tails[last].sequence, commit, yield); !ok || err != nil {
					return tails[last].sequence + 1, err
				}
			}
			tails = tails[:last]
			continue
		}
		seq, t, r, err := parseRun(k, b)
		if err != nil {
			return before, err
		}
		for i := r.count; i > 0; i-- {
			if ok, err := c.stored(seq, t, r.first+ledger.Revision(i-1), yield); !ok || err != nil {
				return seq + 1, err
			}
		}
		k, b = runs.Prev()
	}
	return 0, nil
}

// tailed yields a commit of a tail, unless it is in the file too.
func (c *recordCursor) tailed(seq ledger.Sequence, commit *ledger.Commit, yield func(Recorded) bool) (bool, error) {
	if !c.wanted(commit.Tenant) {
		return true, nil
	}
	filed, known := c.filed[commit.Tenant]
	if !known {
		key := []byte(commit.Tenant)
		if b := c.tx.Bucket(bucketTenants).Get(key); b != nil {
			rec, err := parseTenantRecord(key, b)
			if err != nil {
				return false, err
			}
			filed = rec.head.Revision
		}
		c.filed[commit.Tenant] = filed
	}
	return commit.Revision <= filed || yield(Recorded{seq, commit.Tenant, commit.Revision, commit.Encoded, commit}), nil
}

// stored yields a commit of the file. Its bytes are copied, because they must outlive the
// transaction.
func (c *recordCursor) stored(seq ledger.Sequence, t ledger.Tenant, rev ledger.Revision, yield func(Recorded) bool) (bool, error) {
	if !c.wanted(t) {
		return true, nil
	}
	key := commitKey(t, rev)
	found, err := checkedCommit(t, rev, key, c.tx.Bucket(bucketCommits).Get(key))
	if err != nil {
		return false, err
	}
	return yield(Recorded{Sequence: seq, Tenant: t, Revision: rev, Encoded: bytes.Clone(found.encoded)}), nil
}

// TenantRecords yields a tenant's commits after a revision, in their order, until yield
// returns false. The error is a *ledger.HistoryError if some of them are not kept.
func (r *Replica) TenantRecords(t ledger.Tenant, after ledger.Revision, yield func(Recorded) bool) (err error) {
	s := r.store.Load()
	if s == nil {
		return errNotBuilt
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	snap := &snapshot{r: r, store: s, tenant: t}
	defer snap.guard(&err)
	s.mu.RLock()
	snap.active, snap.frozen = s.active, s.frozen
	if ts := s.tenants[t]; ts != nil {
		snap.kept = ts.start
	}
	var tails []tailCommit
	for _, tail := range []*tail{s.frozen, s.active} {
		if tail != nil && tail.tenants[t] != nil {
			tails = append(tails, tail.tenants[t].commits...)
		}
	}
	snap.tx, err = s.db.Begin(false)
	s.mu.RUnlock()
	if err != nil {
		return fmt.Errorf("%w: read replica: %w", ledger.ErrUnavailable, err)
	}
	defer snap.close()
	if after+1 < snap.kept {
		return snap.notKept(after+1, time.Time{})
	}
	prefix := tenantKey(t)
	commits := snap.tx.Bucket(bucketCommits).Cursor()
	for k, b := commits.Seek(commitKey(t, after+1)); bytes.HasPrefix(k, prefix); k, b = commits.Next() {
		rev := ledger.Revision(binary.BigEndian.Uint64(k[len(prefix):]))
		found, err := checkedCommit(t, rev, k, b)
		if err != nil {
			return err
		}
		after = rev
		if !yield(Recorded{Sequence: found.sequence, Tenant: t, Revision: rev, Encoded: bytes.Clone(found.encoded)}) {
			return nil
		}
	}
	for _, c := range tails {
		if c.Revision <= after {
			continue // it is also in the file
		}
		if !yield(Recorded{c.sequence, t, c.Revision, c.Encoded, c.Commit}) {
			return nil
		}
	}
	return nil
}
