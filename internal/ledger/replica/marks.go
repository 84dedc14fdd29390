package replica

import (
	"slices"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// mark is a commit that resets its tenant's clock: the commits before it may have times that
// are ahead.
//
// The effective time of a commit is the earliest of its own time and the times of all later
// marks. It never decreases along a chain, so commits are found by it with a binary search. A
// commit that is ahead counts as made when the mark was made; a commit whose time is not after
// the mark's keeps its time. So a mark does not change which commit is found at any time before
// the mark's. A tenant has few marks, if any.
type mark struct {
	revision ledger.Revision
	time     int64
}

// effectiveTime is the effective time of a commit whose own time is given.
func effectiveTime(marks []mark, r ledger.Revision, own int64) int64 {
	for _, m := range slices.Backward(marks) {
		if m.revision <= r {
			break
		}
		own = min(own, m.time)
	}
	return own
}

// marksUpTo are the marks up to a revision.
func marksUpTo(marks []mark, r ledger.Revision) []mark {
	for len(marks) > 0 && marks[len(marks)-1].revision > r {
		marks = marks[:len(marks)-1]
	}
	return marks
}

// Effective is the time by which a commit that the replica holds is found: see mark.
func (r *Replica) Effective(c *ledger.Commit) time.Time {
	var marks []mark
	if s := r.store.Load(); s != nil {
		s.mu.RLock()
		if ts := s.tenants[c.Tenant]; ts != nil {
			marks = ts.marks
		}
		s.mu.RUnlock()
	}
	return time.Unix(0, effectiveTime(marks, c.Revision, c.Time.UnixNano())).UTC()
}

// LastReset is the latest time of a commit of any tenant that reset its clock; the zero time if
// there is none.
func (r *Replica) LastReset() (last time.Time) {
	s := r.store.Load()
	if s == nil {
		return last
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, ts := range s.tenants {
		for _, m := range ts.marks {
			if at := time.Unix(0, m.time); at.After(last) {
				last = at
			}
		}
	}
	return last
}

// Ahead are the tenants, including the ledger's own, whose newest commit is later than a time,
// sorted.
func (r *Replica) Ahead(latest time.Time) (ahead []ledger.Tenant) {
	s := r.store.Load()
	if s == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for t, ts := range s.tenants {
		if ts.head.Time > latest.UnixNano() {
			ahead = append(ahead, t)
		}
	}
	slices.Sort(ahead)
	return ahead
}
