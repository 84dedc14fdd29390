package replica

import (
	"iter"
	"runtime/debug"

	"github.com/stelehq/stele/internal/ledger"
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

// All yields the commits. Those of one record, which has no order between tenants, are
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
		for err == nil {
			rec, ok, failed := c.next()
			if err = failed; err == nil && (!ok || !yield(rec, nil)) {
				return
			}
		}
		yield(Recorded{}, err)
	}
}
