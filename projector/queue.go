package projector

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/stelehq/stele/ledger"
)

// queue is what a sink does not have yet: a line a tenant, and in each line its
// keys. It belongs to the goroutine that runs the sink.
type queue struct {
	// every says that each change counts, not only a key's newest value.
	every bool
	// whole says that a line is taken whole.
	whole bool

	lines map[ledger.Tenant]*line
	turns []*line // all lines, in the order of their turns
	turn  int
	// failing is how many entries have failed since they were last written.
	failing int
}

// line is what a sink does not have yet of one tenant.
type line struct {
	tenant ledger.Tenant
	// head is the newest revision that is known; behind is when it first was ahead
	// of read.
	head   ledger.Revision
	behind time.Time
	// read is the revision up to which everything was put into entries. A walk that
	// found more keys than have room goes on at the key next.
	read ledger.Revision
	walk ledger.Revision // the head that it began at; 0 while there is none
	next string

	entries map[ledger.Key]*entry
	order   []*entry // the oldest first
	gone    int      // how many of order are no entries any more
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

	busy  bool
	gone  bool
	retry bool // parked: the position does not wait for it
	// replace is what was found in the key's place, next what was found while the key
	// was being written.
	replace, next *Item
	// What went wrong so far.
	tries  int
	failed time.Time // first
	not    time.Time // before then
}

type change struct {
	revision ledger.Revision
	position int
}

// ahead is about how many keys are read ahead of what is written, of all tenants
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

// full says whether nothing more is read of the line for now.
func (q *queue) full(l *line) bool {
	return !q.whole && len(l.entries) >= max(fewest, ahead/len(q.lines))
}

// add notes that a key has changed.
func (q *queue) add(l *line, key ledger.Key, c change, now time.Time) {
	e := l.entries[key]
	if e == nil {
		e = &entry{line: l, key: key, since: c.revision, queued: now}
		l.entries[key] = e
		l.order = append(l.order, e)
	}
	e.newest = max(e.newest, c.revision)
	e.since = min(e.since, c.revision)
	if q.every {
		e.changes = append(e.changes, c)
	}
	if e.retry { // what was parked waits for nobody, what is new is waited for
		e.retry, e.since = false, c.revision
	}
}

// again puts a key back in its line that the position does not wait for: it was
// parked, or its item is not as it was written. It says whether the key will be
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
	e := &entry{line: l, key: key, since: c.revision, newest: c.revision, queued: time.Now(), retry: true, replace: replace}
	if q.every {
		e.changes = []change{c}
	}
	l.entries[key] = e
	l.order = append(l.order, e)
	return true
}

// position is the revision up to which the sink has everything of the line, but
// for what is parked.
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

// take marks up to most entries as busy whose time has come, turn by turn one of
// each line, so that a tenant with many does not keep the others waiting. Of a queue
// that is whole it takes all of one line. When there are none it returns when the
// next one's time comes, zero for never.
func (q *queue) take(now time.Time, most int) (taken []*entry, next time.Time) {
	for idle := 0; idle < len(q.turns); {
		q.turn %= len(q.turns)
		got, later := q.turns[q.turn].ready(now, q.whole)
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
			break
		}
	}
	return taken, next
}

// ready returns the oldest entry whose time has come, or all of those when the line
// is taken whole and none is being written, and when the next one's time comes.
func (l *line) ready(now time.Time, whole bool) (ready []*entry, next time.Time) {
	for _, e := range l.order {
		switch {
		case e.gone:
		case e.busy && whole:
			return nil, time.Time{}
		case e.busy:
		case now.Before(e.not):
			if next.IsZero() || e.not.Before(next) {
				next = e.not
			}
		default:
			ready = append(ready, e)
			if !whole {
				return ready, next
			}
		}
	}
	return ready, next
}

// done takes what was written out of the queue: the key's value at a revision, or
// its oldest change.
func (q *queue) done(e *entry, written ledger.Revision) {
	if e.tries > 0 {
		q.failing--
	}
	e.busy, e.tries, e.failed, e.not, e.retry = false, 0, time.Time{}, time.Time{}, false
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
// grows with every try.
func (q *queue) putBack(e *entry, now time.Time) {
	q.release(e)
	if e.tries == 0 {
		e.failed = now
		q.failing++
	}
	e.tries++
	e.not = now.Add(pause(e.tries))
}

// release is for an entry that was taken and not tried.
func (q *queue) release(e *entry) {
	e.busy = false
	if e.next != nil {
		e.replace, e.next = e.next, nil
	}
}

func (q *queue) drop(e *entry) {
	l := e.line
	delete(l.entries, e.key)
	e.gone = true
	if l.gone++; l.gone > len(l.order)/2 {
		l.order = slices.DeleteFunc(l.order, func(e *entry) bool { return e.gone })
		l.gone = 0
	}
}

// rewind has the line read once more from a revision on.
func (l *line) rewind(from ledger.Revision) {
	l.read, l.walk, l.next = min(l.read, from), 0, ""
}

const (
	firstPause = 5 * time.Millisecond
	longPause  = 5 * time.Second
)

// pause before a try, with some chance in it, so that what failed together is not
// tried together.
func pause(tries int) time.Duration {
	d := longPause
	if tries < 10 {
		d = min(d, firstPause<<tries)
	}
	return d/2 + rand.N(d/2)
}
