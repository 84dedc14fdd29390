package migrate

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/changelog"
	"github.com/stelehq/stele/internal/ledger"
)

// unknownAuthor is the author if a source that keeps authors does not name one.
const unknownAuthor = "unknown"

// lines makes a tenant's changes of a step into a line, or several where they are
// more than fit a commit. Only the last one has the step's message: what was
// interrupted before it is not taken for all of the step.
func (r *Reader) lines(t *tenant, step Step, changes []ledger.Change) {
	parts := Split(changes)
	for i, part := range parts {
		r.number++
		l := &changelog.Line{Number: r.number, Step: step.ID, Tenant: t.name}
		cs := &l.ChangeSet
		cs.Changes, cs.Message = part, r.message(t.name, step)
		if i < len(parts)-1 {
			cs.Message = clip(fmt.Sprintf("part %d of %d of: %s", i+1, len(parts), cs.Message), ledger.MaxMessage)
		}
		for _, c := range part {
			l.Size += len(c.Key) + len(c.Value)
		}
		if !step.Time.IsZero() {
			at := t.place(step.Time)
			own := step.Time
			if !step.Claimed.IsZero() {
				own = step.Claimed
			}
			if !at.Equal(own) {
				l.Claimed = own
			}
			cs.Import, cs.Author = &ledger.Import{Time: at}, clip(step.Author, ledger.MaxAuthor)
			if cs.Author == "" {
				cs.Author = unknownAuthor
			}
		}
		cs.RequestID = r.requestID(t, step, i)
		r.waiting = append(r.waiting, l)
	}
}

// place is the time of a line: the step's, unless that is before the line before
// it, or in the future.
func (t *tenant) place(at time.Time) time.Time {
	if now := time.Now().UTC(); at.After(now) {
		at = now
	}
	if at.Before(t.newest) {
		at = t.newest
	}
	t.newest = at
	return at
}

func (r *Reader) message(t ledger.Tenant, step Step) string {
	switch {
	case step.Number > 0:
		return fmt.Sprint(r.mark(t), step.Number)
	case step.Message != "":
		return clip(step.Message, ledger.MaxMessage)
	}
	if step.State {
		return clip(r.summary(t), ledger.MaxMessage)
	}
	return clip(r.route(t)+": "+step.ID, ledger.MaxMessage)
}

// summary describes the import of a state.
func (r *Reader) summary(t ledger.Tenant) string {
	text := "Import from " + r.Source.Name()
	if from := r.Mapping.from(t); from != "" {
		text += ", prefix " + from
	}
	if r.Mapping.into != "" {
		text += fmt.Sprintf(", into %s", r.Mapping.into)
	}
	return text
}

// requestID is the same whenever the step is read again. A difference depends on the
// head of the tenant, so its lines also contain the head.
func (r *Reader) requestID(t *tenant, step Step, part int) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %d", r.route(t.name), step.ID, part)
	if step.State {
		fmt.Fprintf(h, " from %d", t.head)
	}
	return "import:" + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// Split divides changes into parts that each fit a commit.
func Split(changes []ledger.Change) [][]ledger.Change {
	var parts [][]ledger.Change
	for len(changes) > 0 {
		n := ledger.Fitting(changes)
		parts, changes = append(parts, changes[:n]), changes[n:]
	}
	return parts
}
