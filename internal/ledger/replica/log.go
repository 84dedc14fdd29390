package replica

import (
	"container/heap"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// Query selects commits. Its zero fields select all.
type Query struct {
	// Key, or otherwise Prefix, is what a commit must have changed.
	Key    ledger.Key
	Prefix ledger.Prefix
	// Author and Grep are texts that the author's name and the message contain, in any
	// case.
	Author, Grep string
	// From is the newest revision that is selected, To the oldest.
	From, To ledger.Revision
}

// Match says whether the query asks for the change's key.
func (q Query) Match(c ledger.Change) bool {
	if q.Key != "" {
		return c.Key == q.Key
	}
	return q.Prefix.Match(c.Key)
}

// matches reports whether author and message contain the texts of the query.
func (q Query) matches(s ledger.Summary) bool {
	contains := func(text, part string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(part)) }
	return contains(s.Author, q.Author) && contains(s.Message, q.Grep)
}

// scanBudget is how many commits a call of Log may look at: a query that selects
// few of many answers in parts.
const scanBudget = 20_000

// Log is a part of the commits that a query selects.
type Log struct {
	view      *View
	query     Query
	revisions revisions
	budget    int
	next      ledger.Revision
}

// Log selects commits. A query for keys also selects the commits that changed what the
// tenant inherits for them, and its commits are as View.EffectiveCommit returns them.
func (v *View) Log(q Query) *Log { return &Log{view: v, query: q, budget: scanBudget} }

// Next is the revision to continue from after the loop over All: the commit that the loop
// was left at, or the one at which the call had looked at enough; 0 at the end.
func (l *Log) Next() ledger.Revision { return l.next }

// All yields the commits, newest first. It ends at HistoryStart; the error is a
// *ledger.HistoryError if it would begin before that.
func (l *Log) All() iter.Seq2[*ledger.Commit, error] {
	return func(yield func(*ledger.Commit, error) bool) {
		for {
			c, err := l.read()
			if c == nil && err == nil {
				return
			}
			if !yield(c, err) || err != nil {
				if err == nil {
					l.next = c.Revision
				}
				return
			}
		}
	}
}

// read finds the next commit, nil at the end.
func (l *Log) read() (c *ledger.Commit, err error) {
	cs, q := &l.view.Commits, l.query
	defer cs.snap.guard(&err)
	if l.revisions == nil {
		if q.From > 0 && q.From < cs.snap.kept {
			return nil, cs.snap.notKept(q.From, time.Time{})
		}
		if l.revisions, err = cs.candidates(q); err != nil {
			return nil, err
		}
	}
	for ; c == nil; l.budget-- {
		rev, ok, err := l.revisions.next()
		switch {
		case err != nil || !ok || rev < max(q.To, cs.snap.kept):
			return nil, err
		case l.budget == 0:
			l.next = rev
			return nil, nil
		}
		if c, err = l.selected(rev); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// selected is the commit, or nil when the query does not select it. A stored one
// is decoded only when author and message are right.
func (l *Log) selected(rev ledger.Revision) (*ledger.Commit, error) {
	cs, q := &l.view.Commits, l.query
	c, ok := cs.snap.tailCommit(rev)
	if !ok {
		var err error
		if q.Author != "" || q.Grep != "" {
			s, _, err := cs.summarize(rev)
			if err != nil || !q.matches(s) {
				return nil, err
			}
		}
		if c.Commit, err = readCommit(cs.snap.tx, cs.snap.tenant, rev); err != nil {
			return nil, err
		}
	} else if !q.matches(c.Summary()) {
		return nil, nil
	}
	seen := c.Commit
	if q.Key != "" || q.Prefix != "" {
		var err error
		if seen, err = l.view.EffectiveCommit(seen); err != nil {
			return nil, err
		}
	}
	if !slices.ContainsFunc(seen.Changes, q.Match) {
		return nil, nil
	}
	return seen, nil
}

// summarize decodes a stored commit's summary.
func (cs *Commits) summarize(rev ledger.Revision) (ledger.Summary, ledger.CommitID, error) {
	c, err := cs.snap.summary(rev)
	if err != nil {
		return ledger.Summary{}, c.id, err
	}
	s, err := ledger.Summarize(c.summary)
	if err != nil {
		err = damaged("commit %s%s: %v", cs.snap.tenant, rev, err)
	}
	return s, c.id, err
}

// revisions come one after the other, the newest first, each once.
type revisions interface {
	next() (ledger.Revision, bool, error)
}

// fewKeys is up to how many keys under a prefix their own histories are merged;
// with more of them, looking through all commits costs less.
const fewKeys = 256

// candidates are the revisions that may be selected, from q.From on.
func (cs *Commits) candidates(q Query) (revisions, error) {
	based := cs.snap.bases.revision > 0
	if q.Key != "" && !based {
		return cs.snap.newKeyLog(string(q.Key), q.From), nil
	}
	if q.Key == "" && q.Prefix == "" {
		return &everyRevision{q.From}, nil
	}
	keys, err := cs.keysOf(q)
	if err != nil {
		return nil, err
	}
	if len(keys) > fewKeys {
		return &everyRevision{q.From}, nil
	}
	if based { // what is inherited changes with the list
		keys = append(keys, string(ledger.BasesKey))
	}
	merged := &mergedLog{}
	for _, key := range keys {
		if err := merged.add(cs.snap.newKeyLog(key, q.From)); err != nil {
			return nil, err
		}
	}
	heap.Init(merged)
	return merged, nil
}

// keysOf are the tenant's own keys that the query names, at most one more than fewKeys.
func (cs *Commits) keysOf(q Query) (keys []string, err error) {
	if q.Key != "" {
		return []string{string(q.Key)}, nil
	}
	scan, err := cs.snap.scan(q.Prefix, "", cs.snap.head, 0, false)
	if err != nil {
		return nil, err
	}
	for len(keys) <= fewKeys {
		kv, ok, err := scan.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		keys = append(keys, kv.key)
	}
	return keys, nil
}

// everyRevision counts down.
type everyRevision struct{ at ledger.Revision }

func (e *everyRevision) next() (ledger.Revision, bool, error) {
	r := e.at
	if r > 0 {
		e.at--
	}
	return r, r > 0, nil
}
