package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// committer writes the journal for all lanes of a ledger. It puts all waiting drafts
// into one record, so that they share one sync of the disk (group commit), and has one
// record in flight at a time: a second one was slower at every number of callers.
//
// A record is appended only if the journal's last sequence is still the one that its
// drafts were checked against. This compare-and-set orders all writes of all tenants,
// whichever process they come from, and an appended record proves that every draft in
// it, rejections included, was checked against the newest state. Processes elect
// no leader: one that loses the race applies the winner's record, sends back the drafts
// whose tenants that record changed, and appends the others again unchanged.
type committer struct {
	journal Journal
	replica Replica
	gate    func() error // see Config.Gate
	observe func(commits, conflicts int)

	mu      sync.Mutex // guards the fields below
	waiting []*draft
	// yielding are the drafts that wait until those in waiting are written.
	yielding []*draft
	closed   bool
	// arrived holds one token while drafts wait.
	arrived chan struct{}

	// contested is set if another process has written since this one did. It is owned
	// by run.
	contested bool
}

const (
	// journalTimeout is how long a lane and the committer try while the journal does not
	// answer, and how long a lane records that a change set attaches bases.
	journalTimeout = 10 * time.Second
	// pause is the time between two tries while the journal does not move.
	pause = 10 * time.Millisecond
	// yieldPause is how long a committer that competes with another process waits
	// after a record of its own. Without it the process that has just written is the
	// first that can write again, and the others lose more races than they win.
	yieldPause = 500 * time.Microsecond
)

// A record holds drafts up to about so many commits and bytes, and always at least
// one. The bounds keep the time that a record takes short, because a change set that
// arrives meanwhile waits for it: an import fills records for minutes and must not
// slow other tenants down. Larger records gain little, since a sync takes a small
// part of the time that 256 commits do. A lane's draft has the same bounds, so a
// tenant gets no more than one draft's share of a record.
const (
	maxCommits  = 256
	recordBytes = 256 << 10
	// maxYielding is how many drafts that yield a record holds: a writer that shares the
	// record, or waits for it, is hardly slower for them.
	maxYielding = 3
)

// errStale: the tenant has a newer head than the one that the draft was built on.
var errStale = errors.New("the draft's head has moved")

// submit queues a draft for the next record. The draft's error errStale asks for a new
// one. All other errors are those that Ledger.Commit documents.
func (c *committer) submit(d *draft) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosing
	}
	if d.yields {
		c.yielding = append(c.yielding, d)
	} else {
		c.waiting = append(c.waiting, d)
	}
	select {
	case c.arrived <- struct{}{}:
	default:
	}
	return nil
}

// run writes until ctx ends, and fails what waits then.
func (c *committer) run(ctx context.Context) {
	defer c.close()
	var took time.Duration
	for {
		drafts := c.next(ctx, min(took, pause))
		if len(drafts) == 0 {
			return
		}
		begun := time.Now()
		wrote := c.record(ctx, drafts)
		took = time.Since(begun)
		if wrote && c.contested {
			c.contested = false
			_ = sleep(ctx, yieldPause)
		}
	}
}

// next waits for the drafts of the next record, and returns none when ctx ends. Drafts that
// yield get a record of their own only after the journal has been idle for as long as the last
// record took. So they leave half of the journal's time to other writers. Without the pause, a
// writer that appends again at once would always be first.
func (c *committer) next(ctx context.Context, idle time.Duration) []*draft {
	timer := time.NewTimer(idle)
	defer timer.Stop()
	rested := false
	for {
		if drafts := c.take(rested); len(drafts) > 0 {
			return drafts
		}
		select {
		case <-c.arrived:
		case <-timer.C:
			rested = true
		case <-ctx.Done():
			return nil
		}
	}
}

// take removes the drafts of the next record: the oldest that wait, and a few that yield.
// Those come along in every record, so that writers cannot hold them up forever. Without
// others they are removed only if the journal has rested.
func (c *committer) take(rested bool) (drafts []*draft) {
	c.mu.Lock()
	defer c.mu.Unlock()
	longest := c.journal.MaxRecord()
	commits, size := 0, 0
	move := func(from []*draft, fits func(*draft) bool) []*draft {
		n := 0
		for ; n < len(from) && (len(drafts) == 0 || fits(from[n])); n++ {
			commits, size = commits+len(from[n].commits), size+from[n].size
			drafts = append(drafts, from[n])
		}
		return slices.Delete(from, 0, n)
	}
	c.waiting = move(c.waiting, func(d *draft) bool {
		return commits+len(d.commits) <= maxCommits && size+d.size <= min(recordBytes, longest)
	})
	if ordinary := len(drafts); ordinary > 0 || rested {
		c.yielding = move(c.yielding, func(d *draft) bool { return len(drafts) < ordinary+maxYielding && size+d.size <= longest })
	}
	return drafts
}

func (c *committer) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	finish(c.waiting, errClosing)
	finish(c.yielding, errClosing)
	c.waiting, c.yielding = nil, nil
}

// record gets the drafts into the journal as one record, and reports whether one was
// written.
func (c *committer) record(ctx context.Context, drafts []*draft) (wrote bool) {
	ctx, cancel := context.WithTimeout(ctx, journalTimeout)
	defer cancel()
	for conflicts := 0; ; conflicts++ {
		position := c.replica.Position()
		if drafts = c.current(drafts); len(drafts) == 0 {
			return false
		}
		commits := all(drafts)
		landed, err := c.append(ctx, position, drafts, commits)
		if landed || err != nil {
			finish(drafts, err)
		}
		switch {
		case err != nil:
			return false
		case landed:
			if len(commits) > 0 {
				c.observe(len(commits), conflicts)
			}
			return len(commits) > 0
		}
		c.contested = true
	}
}

// current finishes the drafts whose tenants have moved on, and returns the others. Drafts
// that would make a base of a tenant that has bases are finished as well.
// Heads only grow, and a draft's was the newest before the record's position was read.
// So it was also the newest at that position if it still is.
func (c *committer) current(drafts []*draft) []*draft {
	attached := attachments{replica: c.replica}
	return slices.DeleteFunc(drafts, func(d *draft) bool {
		stale := c.replica.Head(d.lane.tenant) != d.head || !attached.admit(d)
		if stale {
			finish([]*draft{d}, errStale)
		}
		return stale
	})
}

// append makes the drafts' commits durable and visible. It answers false if another
// process wrote first.
//
// The same bytes on the same condition cannot be written twice. So after a try
// that was not answered, sending them again is how to learn what became of it,
// and until that is known nothing else may be sent in their place.
func (c *committer) append(ctx context.Context, position Sequence, drafts []*draft, commits []*Commit) (landed bool, err error) {
	if len(commits) == 0 {
		return c.confirm(ctx, position, drafts)
	}
	record := encodeRecord(commits)
	maybe := false // an earlier try may have been written
	for {
		err := c.gate()
		var seq Sequence
		if err == nil {
			seq, err = c.journal.Append(ctx, position, record)
		}
		switch {
		case err == nil:
			return c.appended(ctx, seq, commits)
		case errors.Is(err, ErrConflict):
			// If the journal does not move, something is still in flight, perhaps this
			// very record. Or it moves, and what delivers its messages is lost with a
			// server, which takes seconds to replace.
			if c.moved(ctx, position+1, pause) || c.replica.CatchUp(ctx, position+1) == nil {
				return c.isWritten(commits[0])
			}
		case errors.Is(err, ErrUnknownOutcome):
			maybe = true
		case refused(err) && !maybe:
			return false, err
		}
		if sleep(ctx, pause) != nil {
			return false, giveUp(maybe, err)
		}
	}
}

// appended makes durable commits visible, and makes sure that they continue the history that
// this process has seen: only then they are acknowledged.
func (c *committer) appended(ctx context.Context, seq Sequence, commits []*Commit) (bool, error) {
	err := c.replica.Apply(ctx, seq, commits)
	if err == nil {
		err = c.replica.Confirm(ctx, seq)
	}
	if err == nil {
		err = c.gate()
	}
	if err != nil { // it is not wrapped: an ErrReadOnly would say that nothing was written
		return false, fmt.Errorf("%w: record %d is durable, but the journal may not hold everything that this process has seen: %s", ErrUnknownOutcome, seq, err.Error())
	}
	return true, nil
}

// refused reports whether the journal accepts no writes now, which does not pass within moments.
func refused(err error) bool {
	var clock *ClockError
	return errors.Is(err, ErrReadOnly) || errors.Is(err, ErrNoSpace) || errors.As(err, &clock)
}

// isWritten reports whether the replica holds this commit at its revision.
func (c *committer) isWritten(first *Commit) (bool, error) {
	state, err := c.replica.Newest(first.Tenant)
	if err != nil {
		return false, lookFor(err)
	}
	defer state.Close()
	if state.Head().Revision < first.Revision {
		return false, nil
	}
	found, err := state.Commit(first.Revision)
	if err != nil {
		return false, lookFor(err)
	}
	return found.ID == first.ID, nil
}

// lookFor is an error of isWritten. It answers all drafts of the record, so it names none of their
// tenants.
func lookFor(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return fmt.Errorf("%w: look for the record: %w", ErrUnknownOutcome, ErrUnavailable)
	}
	return fmt.Errorf("%w: look for the record", ErrUnknownOutcome)
}

// confirm makes sure that drafts without a commit were checked against the journal's
// end, and not before a record that another process has written.
func (c *committer) confirm(ctx context.Context, position Sequence, drafts []*draft) (landed bool, err error) {
	if !slices.ContainsFunc(drafts, func(d *draft) bool { return d.checked }) {
		return true, nil
	}
	for {
		last, err := c.journal.Last(ctx)
		switch {
		case err == nil && last <= position:
			return true, nil
		case err == nil && c.moved(ctx, last, journalTimeout):
			return false, nil
		case sleep(ctx, pause) != nil:
			return false, giveUp(false, err)
		}
	}
}

// moved waits for the replica to reach the position, and reports whether it has.
func (c *committer) moved(ctx context.Context, position Sequence, most time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	return c.replica.WaitPosition(ctx, position) == nil
}

// finish gives drafts their outcome, and answers the change sets of those that are
// written. The lanes answer the others, or draft them again.
func finish(drafts []*draft, err error) {
	for _, d := range drafts {
		if err == nil {
			d.settle()
		}
		d.err = err
		d.lane.ended(d)
	}
}

// all are the commits of the drafts, in the order in which the record holds them.
func all(drafts []*draft) []*Commit {
	var commits []*Commit
	for _, d := range drafts {
		commits = append(commits, d.commits...)
	}
	return commits
}

var errClosing = fmt.Errorf("%w: the ledger is closing", ErrUnavailable)

func giveUp(maybe bool, err error) error {
	kind := ErrUnavailable
	if maybe {
		kind = ErrUnknownOutcome
	}
	if err == nil || errors.Is(err, kind) {
		err = errors.Join(kind, err)
	} else {
		err = fmt.Errorf("%w: %w", kind, err)
	}
	if maybe {
		return fmt.Errorf("the journal does not answer: %w", err)
	}
	return fmt.Errorf("no record was appended for %s: %w", journalTimeout, err)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
