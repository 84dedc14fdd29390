package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	// ErrNotFound: the tenant, key or commit is not there.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable: the journal or the replica cannot answer now; nothing was
	// written, and trying again may help.
	ErrUnavailable = errors.New("unavailable")
	// ErrUnknownOutcome: the write may or may not have been applied. Repeat it
	// with the same request id to learn which.
	ErrUnknownOutcome = errors.New("outcome unknown: repeat the request with the same request id")
	// ErrAborted: an earlier change set of the same stream failed, so this one
	// was not applied.
	ErrAborted = errors.New("not applied: a change set before it failed")
	// ErrNoSpace: the journal's disk is full; nothing was written. Writes continue once
	// there is space.
	ErrNoSpace = errors.New("no space left on the journal's disk")
	// ErrReadOnly: this process takes no writes.
	ErrReadOnly = errors.New("read-only")
)

// NotFound is an ErrNotFound that names the missing object.
func NotFound(format string, args ...any) error {
	return &notFoundError{fmt.Sprintf(format, args...)}
}

type notFoundError struct{ text string }

func (e *notFoundError) Error() string { return e.text }
func (e *notFoundError) Unwrap() error { return ErrNotFound }

// StoppedError is a process that follows the journal no longer. Its text is for every caller.
// The reason can name other tenants and their revisions: it is for operators and for logs.
type StoppedError struct{ Reason error }

func (e *StoppedError) Error() string {
	return "this process has stopped following the journal: operators see the reason in stele status and in its log"
}

func (e *StoppedError) Unwrap() error { return e.Reason }

// Violation is one thing wrong with a request.
type Violation struct {
	// Field is the path of the offending field, e.g. "changes[3].key".
	Field string
	// Description says what is wrong and what to do.
	Description string
}

// InvalidError lists everything wrong with a request. Nothing of it was applied.
type InvalidError struct{ Violations []Violation }

// Invalid is an InvalidError about one field.
func Invalid(field, description string) error {
	return &InvalidError{Violations: []Violation{{Field: field, Description: description}}}
}

// MaxViolations bounds an answer to a request that is wrong ten thousand times.
const MaxViolations = 20

// Add adds a violation, up to MaxViolations.
func (e *InvalidError) Add(field, description string) {
	if len(e.Violations) < MaxViolations {
		e.Violations = append(e.Violations, Violation{Field: field, Description: description})
	}
}

// OrNil is the error, or nil if it has no violations.
func (e *InvalidError) OrNil() error {
	if len(e.Violations) == 0 {
		return nil
	}
	return e
}

func (e *InvalidError) Error() string {
	parts := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		parts[i] = v.Field + ": " + v.Description
	}
	return strings.Join(parts, "; ")
}

// ConflictError lists the expectations that did not hold. Nothing was applied.
type ConflictError struct {
	Tenant    Tenant
	Conflicts []Conflict
}

// Conflict is one expectation that did not hold.
type Conflict struct {
	// Key is empty when the tenant's head was expected to be another.
	Key Key
	// Expected and Actual are revisions; 0 stands for absent, or no commit.
	Expected, Actual Revision
}

func (c Conflict) String() string {
	subject := "head"
	absent := "no commit"
	if c.Key != "" {
		subject, absent = string(c.Key), "absent"
	}
	name := func(r Revision) string {
		if r == 0 {
			return absent
		}
		return r.String()
	}
	return fmt.Sprintf("%s: expected %s, found %s", subject, name(c.Expected), name(c.Actual))
}

func (e *ConflictError) Error() string {
	parts := make([]string, len(e.Conflicts))
	for i, c := range e.Conflicts {
		parts[i] = c.String()
	}
	return fmt.Sprintf("precondition failed in %s: %s", e.Tenant, strings.Join(parts, "; "))
}

// minIDBytes is how many bytes of an id identify a commit at least.
const minIDBytes = 4

// HistoryChangedError reports that a revision is another commit than the one that the
// caller has seen: the ledger was restored from a backup and written to since, or it is
// another ledger.
type HistoryChangedError struct {
	Tenant   Tenant
	Revision Revision
	// Seen is the beginning of the id that the caller has seen.
	Seen []byte
}

func (e *HistoryChangedError) Error() string {
	return fmt.Sprintf("the history has changed: the commit %s%s %x is not in this ledger, which was restored from a backup or is another one; read the state again",
		e.Tenant, e.Revision, e.Seen)
}

// SameCommit compares a commit's id with the beginning of it that a caller has seen; an
// empty one is not compared. The error is a *HistoryChangedError or an *InvalidError.
func SameCommit(t Tenant, rev Revision, id CommitID, seen []byte) error {
	switch {
	case len(seen) == 0 || len(seen) >= minIDBytes && bytes.HasPrefix(id[:], seen):
		return nil
	case len(seen) < minIDBytes:
		return Invalid("id", fmt.Sprintf("the commit id %x is too short: give at least its first %d bytes", seen, minIDBytes))
	}
	return &HistoryChangedError{Tenant: t, Revision: rev, Seen: seen}
}

// RangeError is a revision or time that the tenant's history does not have.
type RangeError struct {
	Tenant Tenant
	// Revision that was asked for, when Time is zero.
	Revision Revision
	Time     time.Time
	// Head is the tenant's newest revision, and First the time of its first
	// commit (zero without one).
	Head  Revision
	First time.Time
	// Future is set if Time is in the future, when the state is not known yet.
	Future bool
}

func (e *RangeError) Error() string {
	switch {
	case e.Future:
		return fmt.Sprintf("%s is in the future: what %s will be then is not known yet", e.Time.UTC().Format(time.RFC3339Nano), e.Tenant)
	case e.Head == 0:
		return fmt.Sprintf("tenant %s has no commits", e.Tenant)
	case !e.Time.IsZero():
		return fmt.Sprintf("%s has no commit at %s: its first is of %s",
			e.Tenant, e.Time.UTC().Format(time.RFC3339), e.First.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("%s%s is in the future: the head is %s%s", e.Tenant, e.Revision, e.Tenant, e.Head)
}

// HistoryError is a revision or time before the history that a gateway keeps.
type HistoryError struct {
	Tenant Tenant
	// Revision that was asked for, when Time is zero.
	Revision Revision
	Time     time.Time
	// First is the first revision whose history is kept, and FirstTime its time; zero if this
	// gateway keeps none of the tenant's.
	First     Revision
	FirstTime time.Time
	// Upstream is the addresses of the gateways that this one replicates from, which
	// may keep more; empty if it has none.
	Upstream string
}

func (e *HistoryError) Error() string {
	subject := fmt.Sprintf("%s%s", e.Tenant, e.Revision)
	if !e.Time.IsZero() {
		subject = fmt.Sprintf("the state of %s at %s", e.Tenant, e.Time.UTC().Format(time.RFC3339Nano))
	}
	text := subject + " is not kept here"
	if !e.FirstTime.IsZero() {
		text += fmt.Sprintf(": this gateway keeps the history of %s since %s of %s", e.Tenant, e.First, e.FirstTime.UTC().Format(time.RFC3339Nano))
	}
	if e.Upstream != "" {
		text += "; ask its upstream " + e.Upstream
	}
	return text
}
