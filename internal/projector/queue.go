package projector

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// queue is the outstanding work of a sink: one line per tenant, and in each line its
// keys. It belongs to the goroutine that runs the sink.
type queue struct {
	// every is set if each change counts, not only a key's newest value.
	every bool
	// whole is set if a line is taken whole.
	whole bool

	lines map[ledger.Tenant]*line
	turns []*line // all lines, in the order of their turns
	turn  int
}

// Priorities of a line's entries, the highest first. New changes go before the
// backfill: everything that the sink was missing when it was opened, replayed or
// rerouted.
const (
	fresh = iota
	backfill
	priorities
)

// line is the outstanding work of one tenant.
type line struct {
	tenant ledger.Tenant
	// head is the newest revision that is known; behind is when it first was ahead
	// of read.
	head   ledger.Revision
	behind time.Time
	// read is the revision up to which everything was put into entries. A walk that
	// found more keys than have room continues at the key next.
	read ledger.Revision
	// begun is the position that the line began at, until it was compared with the ledger.
	begun position
	walk  ledger.Revision // the head that it began at; 0 while there is none
	next  ledger.Key
	// unwalked estimates how many keys the walk has not put into entries yet.
	unwalked uint64
	// backfill is the newest revision of the backfill; later changes are new.
	backfill ledger.Revision

	entries    map[ledger.Key]*entry
	byPriority [priorities]fifo
}

// fifo holds a line's entries of one priority, the oldest first.
type fifo struct {
	order []*entry
	gone  int // how many of order have left
}

// entry is a key that the sink does not have yet.
type entry struct {
	line *line
	key  ledger.Key
	// since is the oldest revision of the key that the sink does not have, newest the
	// newest.
	since, newest ledger.Revision
	// changes wait their turn, the oldest first, where every one counts.
	changes []change
	queued  time.Time

	priority int
	busy     bool
	gone     bool
	// repeated is set while a change is being written that a rewind reads again.
	repeated bool
	retry    bool // parked: the position does not wait for it
	// replace is the item that was found in the key's place, next the one that was
	// found while the key was being written.
	replace, next *Item
	// What went wrong so far.
	tries  int
	err    error     // of the last try
	failed time.Time // first
	not    time.Time // before then
}

type change struct {
	revision ledger.Revision
	position int
}

// ahead is about how many keys are read before they are written, of all tenants
// together, and fewest how many of one at least.
const (
	ahead  = 8192
	fewest = 8
)

func newQueue(every, whole bool) *queue {
	return &queue{every: every, whole: whole, lines: make(map[ledger.Tenant]*line)}
}

func (q *queue) line(t ledger.Tenant) *line {
	l := q.lines[t]
	if l == nil {
		l = &line{tenant: t, entries: make(map[ledger.Key]*entry)}
		q.lines[t] = l
		q.turns = append(q.turns, l)
	}
	return l
}

// full reports whether nothing more is read of the line for now.
func (q *queue) full(l *line) bool {
	return !q.whole && len(l.entries) >= max(fewest, ahead/len(q.lines))
}

// add notes that a key has changed.
func (q *queue) add(l *line, key ledger.Key, c change, now time.Time) {
	e := l.entries[key]
	if e == nil {
		e = &entry{line: l, key: key, since: c.revision, queued: now, priority: backfill}
		l.entries[key] = e
		if c.revision > l.backfill {
			e.priority = fresh
		}
		l.byPriority[e.priority].order = append(l.byPriority[e.priority].order, e)
	} else if e.priority == backfill && c.revision > l.backfill {
		l.byPriority[backfill].leave(e)
		e.priority = fresh
		l.byPriority[fresh].order = append(l.byPriority[fresh].order, e)
	}
	e.newest = max(e.newest, c.revision)
	e.since = min(e.since, c.revision)
	if q.every {
		e.changes = append(e.changes, c)
	}
	if e.retry { // parked keys block nothing, new ones do
		e.retry, e.since = false, c.revision
	}
}

// again puts a key back in its line that the position does not wait for: it was
// parked, or its item is not as it was written. It reports whether the key will be
// written: where every change counts, others of the key may be on their way.
func (q *queue) again(l *line, key ledger.Key, c change, replace *Item) bool {
	if e := l.entries[key]; e != nil {
		switch {
		case replace == nil:
		case e.busy:
			e.next = replace
		default:
			e.replace = replace
		}
		return !q.every
	}
	e := &entry{line: l, key: key, since: c.revision, newest: c.revision, queued: time.Now(), priority: backfill, retry: true, replace: replace}
	if q.every {
		e.changes = []change{c}
	}
	l.entries[key] = e
	l.byPriority[backfill].order = append(l.byPriority[backfill].order, e)
	return true
}

// position is the revision up to which the sink has everything of the line, except
// parked keys.
func (l *line) position() ledger.Revision {
	at := l.read
	for _, e := range l.entries {
		if !e.retry {
			at = min(at, e.since-1)
		}
	}
	return at
}

// waiting is since when the oldest change of the line has waited; zero when none
// does.
func (l *line) waiting() time.Time {
	oldest := l.behind
	for _, e := range l.entries {
		if oldest.IsZero() || e.queued.Before(oldest) {
			oldest = e.queued
		}
	}
	return oldest
}

// pending is how many writes the line still needs, as far as that is known.
func (l *line) pending() uint64 {
	n := l.unwalked
	if l.walk == 0 {
		n = uint64(l.head - min(l.head, l.read))
	}
	for _, e := range l.entries {
		n += uint64(max(1, len(e.changes)))
	}
	return n
}

// take marks up to most due entries as busy: new changes of all lines, and then the
// backfill. It takes one of each line in turn, so that a tenant with many does not keep
// the others waiting. From a queue that is whole it takes all of one line. If there are
// none it returns when the next one is due, zero for never.
func (q *queue) take(now time.Time, most int) (taken []*entry, next time.Time) {
	for priority := range priorities {
		for idle := 0; idle < len(q.turns); {
			q.turn %= len(q.turns)
			got, later := q.turns[q.turn].ready(now, q.whole, priority)
			q.turn++
			if len(got) == 0 {
				idle++
				if next.IsZero() || !later.IsZero() && later.Before(next) {
					next = later
				}
				continue
			}
			idle = 0
			for _, e := range got {
				e.busy = true
			}
			if taken = append(taken, got...); q.whole || len(taken) == most {
				return taken, next
			}
		}
	}
	return taken, next
}

// ready returns the oldest entry of a priority whose time has come, and when the next
// one's time comes. When the line is taken whole it returns all entries whose time
// has come, of all priorities, if one has this priority and none is being written.
func (l *line) ready(now time.Time, whole bool, of int) (ready []*entry, next time.Time) {
	due := false
	for i := range l.byPriority {
		if i != of && !whole {
			continue
		}
		for _, e := range l.byPriority[i].order {
			switch {
			case e.gone || e.priority != i:
			case e.busy && whole:
				return nil, time.Time{}
			case e.busy:
			case now.Before(e.not):
				if next.IsZero() || e.not.Before(next) {
					next = e.not
				}
			default:
				due = due || i == of
				ready = append(ready, e)
				if !whole {
					return ready, next
				}
			}
		}
	}
	if !due {
		return nil, next
	}
	return ready, next
}

// done removes a written entry from the queue: the key's value at a revision, or its
// oldest change.
func (q *queue) done(e *entry, written ledger.Revision) {
	e.busy, e.tries, e.err, e.failed, e.not, e.retry, e.repeated = false, 0, nil, time.Time{}, time.Time{}, false, false
	e.replace, e.next = e.next, nil
	if q.every {
		e.changes = e.changes[1:]
		if len(e.changes) > 0 {
			e.since = e.changes[0].revision
			return
		}
	} else if e.newest > written {
		e.since = written + 1
		return
	} else if e.replace != nil { // it was found while the key was written: once more
		e.since, e.retry = written, true
		return
	}
	q.drop(e)
}

// putBack is for an entry whose write failed: it is tried again after a pause that
// grows with every try, without end.
func (q *queue) putBack(e *entry, now time.Time, why error) {
	q.release(e)
	if e.tries == 0 {
		e.failed = now
	}
	e.tries++
	e.err = why
	e.not = now.Add(pause(e.tries, longestPause))
}

// release is for an entry that was taken and not tried.
func (q *queue) release(e *entry) {
	e.busy = false
	if e.next != nil {
		e.replace, e.next = e.next, nil
	}
	if !e.repeated {
		return
	}
	// The change is written in its turn, after the older ones that are read again.
	if e.repeated, e.changes = false, e.changes[1:]; len(e.changes) == 0 {
		q.drop(e)
		return
	}
	e.since = e.changes[0].revision
}

func (q *queue) drop(e *entry) {
	delete(e.line.entries, e.key)
	e.gone = true
	e.line.byPriority[e.priority].leave(e)
}

// leave counts an entry that has left, and drops those that have once they are
// more than half.
func (l *fifo) leave(gone *entry) {
	if l.gone++; l.gone > len(l.order)/2 {
		l.order = slices.DeleteFunc(l.order, func(e *entry) bool { return e == gone || e.gone || e.priority != gone.priority })
		l.gone = 0
	}
}

// rewind has the line read again after a revision, as a backfill. Where every change
// counts, entries lose the changes that are read again, so that each key gets its changes
// in order. A change that is being written stays until its outcome is known.
func (q *queue) rewind(l *line, after ledger.Revision) {
	l.read, l.walk, l.next, l.unwalked = min(l.read, after), 0, "", 0
	l.backfill = l.head
	if !q.every {
		return
	}
	for _, e := range l.entries {
		running := 0
		if e.busy {
			running, e.repeated = 1, e.repeated || e.changes[0].revision > l.read
		}
		kept := slices.DeleteFunc(e.changes[running:], func(c change) bool { return c.revision > l.read })
		if e.changes = e.changes[:running+len(kept)]; len(e.changes) == 0 {
			q.drop(e)
		}
	}
}

const (
	firstPause = 5 * time.Millisecond
	// longPause is the longest backoff of a sink that does not answer, longestPause the
	// longest backoff of a key whose writes fail.
	longPause    = 5 * time.Second
	longestPause = 30 * time.Second
)

// pause before a try, at most so long, with some chance in it, so that what failed
// together is not tried together.
func pause(tries int, most time.Duration) time.Duration {
	d := most
	if tries < 13 { // firstPause<<13 is more than longestPause
		d = min(d, firstPause<<tries)
	}
	return d/2 + rand.N(d/2)
}
