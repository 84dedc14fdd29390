package replica

import (
	"bytes"
	"encoding/binary"
	"iter"
	"runtime/debug"
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
