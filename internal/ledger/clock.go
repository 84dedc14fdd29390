package ledger

import (
	"context"
	"fmt"
	"time"
)

// ClockBound is the clock bound: the largest difference between the clocks of a process and of
// the journal's servers at which the process writes, and the largest time by which a commit may
// be later than the journal's stamp of its record.
const ClockBound = time.Minute

// Clock has the times that a process compares when it makes a commit.
type Clock struct {
	// Now is the process's own clock.
	Now time.Time
	// Latest is the latest time that a commit may have now: the time of the journal's servers
	// plus ClockBound.
	Latest time.Time
	// Stamp is the journal's stamp of its newest message; zero if it has none.
	Stamp time.Time
}

// ClockError is a clock that differs from another one by more than ClockBound. Nothing was
// written.
type ClockError struct {
	// Ahead is how far this process's clock is ahead of the other one; negative if it is behind.
	Ahead time.Duration
	// Of names the other clock.
	Of string
	// Try is what to do about it.
	Try string
}

func (e *ClockError) Error() string {
	direction := "ahead of"
	if e.Ahead < 0 {
		direction = "behind"
	}
	return fmt.Sprintf("this process's clock is %s %s %s: %s", span(e.Ahead), direction, e.Of, e.Try)
}

func (e *ClockError) Unwrap() error { return ErrUnavailable }

// AheadError is a tenant whose newest commit has a time that no new commit may have. A process
// wrote it while its clock was ahead.
type AheadError struct {
	Tenant Tenant
	// Head is the newest commit, and Time its time.
	Head Revision
	Time time.Time
	// By is how far that is ahead.
	By time.Duration
}

func (e *AheadError) Error() string {
	return fmt.Sprintf("the time of %s%s, %s, is %s ahead: an operator must end these times with: stele tenant reset-clock %s --reason TEXT",
		e.Tenant, e.Head, e.Time.UTC().Format(time.RFC3339), span(e.By), e.Tenant)
}

// span is the length of a time, in days if it is long.
func span(d time.Duration) string {
	d = d.Abs()
	if days := d / (24 * time.Hour); days >= 2 {
		return fmt.Sprintf("%d days", days)
	}
	return d.Round(time.Second).String()
}

// behind reports a clock that is behind the newest message, or was ahead when that was written.
func (c Clock) behind() error {
	if !c.Stamp.After(c.Latest) {
		return nil
	}
	return &ClockError{Ahead: c.Now.Sub(c.Stamp), Of: "the journal's newest message",
		Try: "synchronize it; if it is right, the message was written while a clock was ahead: reset the tenants that stele status lists with stele tenant reset-clock"}
}

// ResetClock writes a commit without changes that ends the times that are ahead. Nothing is
// written, and the result is unchanged, if the head's time is one that a new commit may have.
// ahead is the time of the head before.
//
// Errors, in addition to those of Commit: ErrNotFound if the tenant has no commit.
func (l *Ledger) ResetClock(ctx context.Context, t Tenant, author, reason string) (r Result, ahead time.Time, err error) {
	head := l.cfg.Replica.Head(t)
	if head.Revision == 0 {
		return r, ahead, NotFound("%s has no commit", t)
	}
	r, err = l.Commit(ctx, t, ChangeSet{Author: author, ByOperator: true, Message: reason, Origin: &ClockOrigin{}})
	return r, time.Unix(0, head.Time).UTC(), err
}

// stamp sets the commit's time, and its origin if that depends on the time. It reports whether
// the commit must be written.
func (c *Commit) stamp(clock Clock, head Head, in *Import) (write bool, err error) {
	c.Time = clock.Now.UTC()
	headTime := time.Unix(0, head.Time).UTC()
	if c.ResetsClock() {
		ahead := headTime.After(clock.Latest)
		if !ahead && clock.behind() == nil {
			return false, nil
		}
		if !ahead && c.Time.Before(headTime) { // only the newest message is ahead
			c.Time = headTime
		}
		c.Origin = &ClockOrigin{Ahead: headTime}
		return true, nil
	}
	if err := clock.behind(); err != nil {
		return false, err
	}
	if headTime.After(clock.Latest) {
		return false, &AheadError{Tenant: c.Tenant, Head: head.Revision, Time: headTime, By: headTime.Sub(clock.Now)}
	}
	if in != nil {
		c.Time, c.Origin = in.Time.UTC(), &ImportOrigin{Recorded: clock.Now.UTC(), Importer: in.Importer}
		return true, checkImport(c.Time, headTime, clock)
	}
	if c.Time.Before(headTime) { // another process's clock is ahead, within the bound
		c.Time = headTime
	}
	return true, nil
}

// checkImport checks the time of an imported change.
func checkImport(at, head time.Time, clock Clock) error {
	text := at.Format(time.RFC3339Nano)
	switch {
	case at.Before(time.Unix(0, 0)):
		return Invalid("import.time", text+" is before 1970")
	case at.Before(head):
		return Invalid("import.time", fmt.Sprintf("%s is before the head's time %s: a tenant's history is imported oldest first, before anything newer is written",
			text, head.Format(time.RFC3339Nano)))
	case at.After(clock.Latest):
		return Invalid("import.time", text+" is in the future")
	}
	return nil
}
