package replica

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// Query selects commits. Its zero fields select all.
type Query struct {
	// Names are the keys of which a commit must have changed one.
	Names []ledger.Name
	// Earlier are the names that an earlier part of the log has followed.
	Earlier []ledger.Name
	// Follow, if set, also selects the commits that changed the keys under the names that
	// they had before they were copied or renamed, if it reports true for the name.
	Follow func(ledger.Name) bool
	// Author and Grep are texts that the author's name and the message contain, in any
	// case.
	Author, Grep string
	// PromotedFrom is the tenant whose values a commit must have promoted.
	PromotedFrom ledger.Tenant
	// From is the newest revision that is selected, To the oldest.
	From, To ledger.Revision
}

// Match reports whether the query asks for the change's key.
func (q Query) Match(c ledger.Change) bool {
	return len(q.Names) == 0 || slices.ContainsFunc(q.Names, func(n ledger.Name) bool { return n.Match(c.Key) })
}

// matches reports whether author, message and origin are what the query asks for.
func (q Query) matches(s ledger.Summary) bool {
	contains := func(text, part string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(part)) }
	if q.PromotedFrom != "" {
		if o, ok := s.Origin.(*ledger.PromotionOrigin); !ok || o.Tenant != q.PromotedFrom {
			return false
		}
	}
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
	earlier   []earlierName
	budget    int
	next      ledger.Revision
}

// Log selects commits. A query for keys also selects the commits that changed what the
// tenant inherits for them, and its commits are as View.EffectiveCommit returns them.
func (v *View) Log(q Query) *Log {
	l := &Log{view: v, query: q, budget: scanBudget}
	for _, n := range q.Earlier {
		l.earlier = append(l.earlier, earlierName{n, q.From + 1})
	}
	return l
}

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
		if l.revisions, err = cs.candidates(slices.Concat(q.Names, q.Earlier), q.From); err != nil {
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
// is decoded only when its summary matches. Every copy is followed, whether the query selects its commit or not.
func (l *Log) selected(rev ledger.Revision) (*ledger.Commit, error) {
	cs, q := &l.view.Commits, l.query
	c, ok := cs.snap.tailCommit(rev)
	if !ok {
		var err error
		if q.Author != "" || q.Grep != "" || q.PromotedFrom != "" {
			s, _, err := cs.snap.summary(rev)
			if err != nil || !q.matches(s) {
				return nil, cmp.Or(err, l.follow(rev, s.Origin))
			}
		}
		if c.Commit, err = readCommit(cs.snap.tx, cs.snap.tenant, rev); err != nil {
			return nil, err
		}
	} else if !q.matches(c.Summary()) {
		return nil, l.follow(rev, c.Origin)
	}
	if err := l.follow(rev, c.Origin); err != nil {
		return nil, err
	}
	seen := c.Commit
	if len(q.Names) > 0 {
		var err error
		if seen, err = l.view.EffectiveCommit(seen); err != nil {
			return nil, err
		}
	}
	unnamed := len(q.Names) == 0 && len(seen.Changes) == 0 // it resets the clock
	if !unnamed && !slices.ContainsFunc(seen.Changes, func(ch ledger.Change) bool { return l.Match(rev, ch) }) {
		return nil, nil
	}
	return seen, nil
}

// revisions come one after the other, the newest first, each once.
type revisions interface {
	next() (ledger.Revision, bool, error)
}

// fewKeys is up to how many keys under a prefix their own histories are merged;
// with more of them, looking through all commits costs less.
const fewKeys = 256

// candidates are the revisions of commits that may have changed a key of the names, from a
// revision on.
func (cs *Commits) candidates(names []ledger.Name, from ledger.Revision) (revisions, error) {
	if len(names) == 0 {
		return &everyRevision{from}, nil
	}
	merged := &mergedLog{}
	for _, n := range names {
		if few, err := cs.addKeys(merged, n, from); err != nil || !few {
			return &everyRevision{from}, err
		}
	}
	if cs.snap.bases.revision > 0 { // what is inherited changes with the list
		return merged, merged.add(cs.snap.newKeyLog(ledger.BasesKey, from))
	}
	return merged, nil
}

// addKeys adds the logs of the tenant's own keys that the name selects, unless there are too
// many.
func (cs *Commits) addKeys(m *mergedLog, n ledger.Name, from ledger.Revision) (few bool, err error) {
	if n.IsKey() {
		return true, m.add(cs.snap.newKeyLog(ledger.Key(n), from))
	}
	scan, err := cs.snap.scan(n.Range(), "", cs.snap.head, 0, false)
	if err != nil {
		return false, err
	}
	for range fewKeys {
		kv, ok, err := scan.next()
		if err != nil || !ok {
			return true, err
		}
		if err := m.add(cs.snap.newKeyLog(kv.key, from)); err != nil {
			return false, err
		}
	}
	_, more, err := scan.next()
	return !more, err
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

// earlierName is what the keys of a query were called before the revision that copied them.
type earlierName struct {
	ledger.Name
	before ledger.Revision
}

// maxEarlier bounds the earlier names that a log follows, in bytes: callers keep them from
// page to page.
const maxEarlier = 2048

// Match reports whether the query asks for a change that a commit made.
func (l *Log) Match(rev ledger.Revision, c ledger.Change) bool {
	return l.query.Match(c) || slices.ContainsFunc(l.earlier, func(n earlierName) bool { return rev < n.before && n.Match(c.Key) })
}

// Earlier are the names that the log has followed, for Query.Earlier of the log that
// continues from Next.
func (l *Log) Earlier() []ledger.Name {
	var names []ledger.Name
	for _, n := range l.earlier {
		if n.before != l.next { // else the commit that made the copy is read again
			names = append(names, n.Name)
		}
	}
	return names
}

// follow adds the earlier names of the keys that the commit at a revision has copied.
func (l *Log) follow(rev ledger.Revision, o ledger.Origin) error {
	made, copied := o.(*ledger.CopyOrigin)
	if !copied || l.query.Follow == nil {
		return nil
	}
	known, size := slices.Clone(l.query.Names), 0
	for _, n := range l.earlier {
		known = append(known, n.Name)
		size += len(n.Name)
	}
	for _, n := range known {
		old := made.Earlier(n)
		if old == "" || slices.Contains(known, old) || !l.query.Follow(old) {
			continue
		}
		if size += len(old); size > maxEarlier {
			break
		}
		l.earlier = append(l.earlier, earlierName{old, rev})
		if merged, ok := l.revisions.(*mergedLog); ok {
			few, err := l.view.addKeys(merged, old, rev-1)
			if err != nil {
				return err
			}
			if !few {
				l.revisions = &everyRevision{rev - 1}
			}
		}
	}
	return nil
}
