package replica

import (
	"slices"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// At names a state of a tenant's history; the zero At is the head.
type At struct {
	Revision ledger.Revision
	Time     time.Time
	// Empty is the state before the first commit, revision 0.
	Empty bool
}

// Resolve finds the revision of a state.
func (cs *Commits) Resolve(at At) (rev ledger.Revision, err error) {
	defer cs.snap.guard(&err)
	switch {
	case at.Empty && cs.snap.kept > 1:
		return 0, cs.snap.notKept(0, time.Time{})
	case at.Empty:
		return 0, nil
	case !at.Time.IsZero():
		return cs.revisionAt(at.Time)
	case at.Revision > cs.snap.head:
		return 0, &ledger.RangeError{Tenant: cs.snap.tenant, Revision: at.Revision, Head: cs.snap.head}
	case at.Revision > 0 && at.Revision < cs.snap.kept:
		return 0, cs.snap.notKept(at.Revision, time.Time{})
	}
	return at.Revision, nil
}

// revisionAt finds the newest commit that is not later. Effective times never go back along
// a chain, so it is a binary search.
func (cs *Commits) revisionAt(at time.Time) (ledger.Revision, error) {
	if err := cs.notInFuture(at); err != nil {
		return 0, err
	}
	if cs.snap.head == 0 {
		return 0, &ledger.RangeError{Tenant: cs.snap.tenant, Time: at}
	}
	after, err := cs.firstAfter(at)
	if err != nil {
		return 0, err
	}
	if after > cs.snap.kept {
		return after - 1, nil
	}
	if cs.snap.kept > 1 {
		return 0, cs.snap.notKept(0, at)
	}
	first, err := cs.snap.timeOf(1)
	if err != nil {
		return 0, err
	}
	return 0, &ledger.RangeError{Tenant: cs.snap.tenant, Time: at, Head: cs.snap.head, First: time.Unix(0, first)}
}

// Since finds the first commit that is not earlier than a time; the one after the
// head when all are. If that may be one whose history is not kept, it is the last of
// these.
func (cs *Commits) Since(at time.Time) (rev ledger.Revision, err error) {
	defer cs.snap.guard(&err)
	if err := cs.notInFuture(at); err != nil {
		return 0, err
	}
	rev, err = cs.firstAfter(at.Add(-1))
	if err == nil && rev == cs.snap.kept && cs.snap.kept > 1 {
		rev--
	}
	return rev, err
}

// notInFuture rejects a time in the future, because the state at that time is not known
// yet.
func (cs *Commits) notInFuture(at time.Time) error {
	if at.After(time.Now()) {
		return &ledger.RangeError{Tenant: cs.snap.tenant, Time: at, Head: cs.snap.head, Future: true}
	}
	return nil
}

// firstAfter finds the first commit that is later, among those whose history is kept; the
// one after the head when none is.
func (cs *Commits) firstAfter(at time.Time) (ledger.Revision, error) {
	if cs.snap.head == 0 {
		return 1, nil
	}
	return firstLater(cs.snap.kept, cs.snap.head, nanosOf(at), cs.snap.timeOf)
}

// nanosOf is a time as commits have it. No commit is before 1970.
func nanosOf(at time.Time) int64 {
	if at.Unix() < 0 {
		return -1
	}
	return at.UnixNano()
}

// firstLater finds the first of some commits that is later than a time, by binary search;
// the one after the last when none is.
func firstLater(first, last ledger.Revision, nanos int64, timeOf func(ledger.Revision) (int64, error)) (ledger.Revision, error) {
	end := last + 1
	for first < end {
		mid := first + (end-first)/2
		t, err := timeOf(mid)
		switch {
		case err != nil:
			return 0, err
		case t > nanos:
			end = mid
		default:
			first = mid + 1
		}
	}
	return first, nil
}

// RevisionsAt finds for each of some times, which must be in ascending order, the newest commit that is
// not later. If there is none among the commits that are kept, it is the revision before them.
func (cs *Commits) RevisionsAt(ascending []time.Time) (out []ledger.Revision, err error) {
	defer cs.snap.guard(&err)
	from, last := max(cs.snap.kept, 1), cs.snap.head
	for _, at := range ascending {
		nanos := nanosOf(at)
		// Most times are few commits after the one before: a search in a growing range reads
		// fewer of them than one in all that follow.
		end := last
		for step := ledger.Revision(1); from+step < last; step *= 2 {
			t, err := cs.snap.timeOf(from + step)
			if err != nil {
				return nil, err
			}
			if t > nanos {
				end = from + step
				break
			}
		}
		if from <= last {
			if from, err = firstLater(from, end, nanos, cs.snap.timeOf); err != nil {
				return nil, err
			}
		}
		out = append(out, from-1)
	}
	return out, nil
}

// Effective is the time by which a commit is found, whose own time is at: see mark.
func (cs *Commits) Effective(rev ledger.Revision, at time.Time) time.Time {
	return time.Unix(0, effectiveTime(cs.snap.marks, rev, at.UnixNano())).UTC()
}

// First is the time of the first commit that the replica keeps; the zero time while the tenant
// has no commit.
func (cs *Commits) First() (at time.Time, err error) {
	defer cs.snap.guard(&err)
	if cs.snap.head == 0 {
		return at, nil
	}
	nanos, err := cs.snap.timeOf(cs.snap.kept)
	return time.Unix(0, nanos), err
}

// HistoryStart is the first revision whose history the replica keeps, and its time; ok is
// false if it keeps all.
func (cs *Commits) HistoryStart() (rev ledger.Revision, at time.Time, ok bool, err error) {
	defer cs.snap.guard(&err)
	if cs.snap.kept <= 1 {
		return 0, at, false, nil
	}
	nanos, err := cs.snap.timeOf(cs.snap.kept)
	return cs.snap.kept, time.Unix(0, nanos), err == nil, err
}

// CheckKept returns a *ledger.HistoryError if some commit from a revision on is not kept.
func (cs *Commits) CheckKept(from ledger.Revision) (err error) {
	defer cs.snap.guard(&err)
	if from >= cs.snap.kept {
		return nil
	}
	return cs.snap.notKept(from, time.Time{})
}

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
func (r *current) Effective(c *ledger.Commit) time.Time {
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
func (r *current) LastReset() (last time.Time) {
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
func (r *current) Ahead(latest time.Time) (ahead []ledger.Tenant) {
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
