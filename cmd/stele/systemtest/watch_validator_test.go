package systemtest

import (
	"errors"
	"fmt"
	"testing"
)

// watched is what one watch of a whole tenant has received, in order: the sessions that
// follow each other when the watch is resumed, at the same gateway or another.
type watched struct{ sessions []watchSession }

// watchSession is one watch, from its creation to its end.
type watchSession struct {
	// from is the first revision that was asked for.
	from     uint64
	received []received
}

// received is one message: a part of a commit, or a bookmark.
type received struct {
	revision uint64
	id       string
	changes  []string // "KEY=VALUE" of each
	// more: the next message has more changes of the same commit.
	more bool
	// bookmark: everything up to the revision was sent.
	bookmark bool
}

// recorded is a commit as the ledger holds it in the end.
type recorded struct {
	id      string
	changes []string
}

// The promises to a watch (G3 to G8), each checked by a validator.
var watchValidators = map[string]func(watched, []recorded) error{
	"ordered":      watchOrdered,
	"unique":       watchUnique,
	"reliable":     watchReliable,
	"atomic":       watchAtomic,
	"resumable":    watchResumable,
	"bookmarkable": watchBookmarkable,
}

// validate runs all validators. chain[i] is the commit of the revision i+1.
func (w watched) validate(chain []recorded) error {
	var wrong []error
	for name, check := range watchValidators {
		if err := check(w, chain); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(wrong...)
}

// commits calls visit for each message that is not a bookmark.
func (w watched) commits(visit func(received) error) error {
	for _, s := range w.sessions {
		for _, r := range s.received {
			if r.bookmark {
				continue
			}
			if err := visit(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// watchOrdered: within a session, revisions do not decrease.
func watchOrdered(w watched, _ []recorded) error {
	for n, s := range w.sessions {
		last := uint64(0)
		for _, r := range s.received {
			if !r.bookmark && r.revision < last {
				return fmt.Errorf("session %d: @%d after @%d", n, r.revision, last)
			}
			if !r.bookmark {
				last = r.revision
			}
		}
	}
	return nil
}

// watchUnique: no session sends a commit again that is complete.
func watchUnique(w watched, _ []recorded) error {
	for n, s := range w.sessions {
		complete := make(map[uint64]bool)
		for _, r := range s.received {
			switch {
			case r.bookmark:
			case complete[r.revision]:
				return fmt.Errorf("session %d: @%d a second time", n, r.revision)
			case !r.more:
				complete[r.revision] = true
			}
		}
	}
	return nil
}

// watchReliable: over all sessions, no commit is missing up to the last one received, and
// each is the ledger's.
func watchReliable(w watched, chain []recorded) error {
	last := uint64(0)
	if len(w.sessions) > 0 {
		last = w.sessions[0].from - 1
	}
	return w.commits(func(r received) error {
		switch {
		case r.revision > uint64(len(chain)):
			return fmt.Errorf("@%d is not in the ledger, which ends at @%d", r.revision, len(chain))
		case r.id != chain[r.revision-1].id:
			return fmt.Errorf("@%d is %s, and the ledger has %s", r.revision, r.id, chain[r.revision-1].id)
		case r.revision > last+1:
			return fmt.Errorf("@%d follows @%d", r.revision, last)
		}
		if !r.more {
			last = max(last, r.revision)
		}
		return nil
	})
}

// watchAtomic: the parts of a commit follow each other and are all of it. The last commit of
// a session may lack parts.
func watchAtomic(w watched, chain []recorded) error {
	for n, s := range w.sessions {
		var parts []string
		open := uint64(0)
		for _, r := range s.received {
			if open != 0 && (r.bookmark || r.revision != open) {
				return fmt.Errorf("session %d: @%d begins before @%d is complete", n, r.revision, open)
			}
			if r.bookmark {
				continue
			}
			parts = append(parts, r.changes...)
			if r.more {
				open = r.revision
				continue
			}
			open = 0
			if r.revision <= uint64(len(chain)) && fmt.Sprint(parts) != fmt.Sprint(chain[r.revision-1].changes) {
				return fmt.Errorf("session %d: @%d changes %v, and the commit %v", n, r.revision, parts, chain[r.revision-1].changes)
			}
			parts = nil
		}
	}
	return nil
}

// watchResumable: a session sends first what it was asked for.
func watchResumable(w watched, _ []recorded) error {
	for n, s := range w.sessions {
		for _, r := range s.received {
			if r.bookmark {
				continue
			}
			if r.revision != s.from {
				return fmt.Errorf("session %d: it was asked for @%d, and @%d came first", n, s.from, r.revision)
			}
			break
		}
	}
	return nil
}

// watchBookmarkable: a bookmark never names a revision that was not sent before it, and
// bookmarks of a session do not go back.
func watchBookmarkable(w watched, _ []recorded) error {
	for n, s := range w.sessions {
		sent, marked := s.from-1, uint64(0)
		for _, r := range s.received {
			switch {
			case r.bookmark && r.revision > sent:
				return fmt.Errorf("session %d: bookmark @%d, and only @%d was sent", n, r.revision, sent)
			case r.bookmark && r.revision < marked:
				return fmt.Errorf("session %d: bookmark @%d after @%d", n, r.revision, marked)
			case r.bookmark:
				marked = r.revision
			case !r.more:
				sent = max(sent, r.revision)
			}
		}
	}
	return nil
}

// TestWatchValidators_CatchMutants breaks a good watch in each of the ways that the
// validators are there for: the validator of the promise must object.
func TestWatchValidators_CatchMutants(t *testing.T) {
	chain := []recorded{{"a", []string{"x=1"}}, {"b", []string{"x=2", "y=2", "z=2"}}, {"c", []string{"y=3"}}, {"d", []string{"x=4"}}}
	good := func() watched {
		return watched{[]watchSession{
			{from: 1, received: []received{
				{revision: 1, id: "a", changes: []string{"x=1"}},
				{revision: 1, bookmark: true},
				{revision: 2, id: "b", changes: []string{"x=2", "y=2"}, more: true},
				{revision: 2, id: "b", changes: []string{"z=2"}},
				{revision: 2, bookmark: true},
			}},
			{from: 3, received: []received{
				{revision: 3, id: "c", changes: []string{"y=3"}},
				{revision: 4, id: "d", changes: []string{"x=4"}},
			}},
		}}
	}
	if err := good().validate(chain); err != nil {
		t.Fatalf("a good watch: %v", err)
	}
	for _, mutant := range []struct {
		name, caughtBy string
		mutate         func(w *watched)
	}{
		{"two commits swapped", "ordered", func(w *watched) { r := w.sessions[1].received; r[0], r[1] = r[1], r[0] }},
		{"a commit twice", "unique", func(w *watched) {
			s := &w.sessions[1]
			s.received = append(s.received, s.received[1])
		}},
		{"a commit left out", "reliable", func(w *watched) {
			w.sessions[0].received = append(w.sessions[0].received[:2], w.sessions[0].received[4:]...)
		}},
		{"a commit of another history", "reliable", func(w *watched) { w.sessions[1].received[0].id = "e" }},
		{"a commit that does not exist", "reliable", func(w *watched) { w.sessions[1].received[1].revision = 5 }},
		{"a change left out", "atomic", func(w *watched) { w.sessions[0].received[2].changes = []string{"x=2"} }},
		{"a part left out", "atomic", func(w *watched) {
			w.sessions[0].received = append(w.sessions[0].received[:3], w.sessions[0].received[4:]...)
		}},
		{"a part that looks like all", "atomic", func(w *watched) { w.sessions[0].received[2].more = false }},
		{"resumed too late", "resumable", func(w *watched) { w.sessions[1].received = w.sessions[1].received[1:] }},
		{"resumed too early", "resumable", func(w *watched) {
			s := &w.sessions[1]
			s.received = append([]received{{revision: 2, id: "b", changes: []string{"x=2", "y=2", "z=2"}}}, s.received...)
		}},
		{"a bookmark ahead", "bookmarkable", func(w *watched) { w.sessions[0].received[1].revision = 2 }},
		{"a bookmark that goes back", "bookmarkable", func(w *watched) { w.sessions[0].received[4].revision = 0 }},
	} {
		t.Run(mutant.name, func(t *testing.T) {
			w := good()
			mutant.mutate(&w)
			if watchValidators[mutant.caughtBy](w, chain) == nil {
				t.Errorf("the validator %q accepts it", mutant.caughtBy)
			}
		})
	}
}
