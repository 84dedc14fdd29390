package replica

import (
	"container/heap"
	"slices"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

// Version returns the value in force for a key at a revision; the zero Version if the
// key had never been set. The error is a *ledger.HistoryError for a revision before the
// one that the kept history begins after.
func (v *View) Version(key ledger.Key, at ledger.Revision) (found ledger.Version, err error) {
	defer v.guard(&err)
	if at > v.head {
		return found, &ledger.RangeError{Tenant: v.tenant, Revision: at, Head: v.head}
	}
	if at > 0 && at+1 < v.kept { // the state just before kept is known, because its commit replaced it
		return found, v.notKept(at, time.Time{})
	}
	got, _, err := v.versionAt(string(key), at)
	return ledger.Version{Revision: got.revision, Value: ledger.Value(got.value)}, err
}

// Diff yields the keys under the prefix whose values differ in meaning between two
// revisions, in the order of their keys, from the first at or after start, until yield
// returns false. Either revision may be the later.
//
// Only keys that have changed since the older revision are looked up; the newest entry
// of each identifies them.
func (v *View) Diff(from, to ledger.Revision, prefix ledger.Prefix, start string, yield func(ledger.KeyDiff) bool) (err error) {
	defer v.guard(&err)
	older, newer := min(from, to), max(from, to)
	if newer > v.head {
		return &ledger.RangeError{Tenant: v.tenant, Revision: newer, Head: v.head}
	}
	for _, r := range []ledger.Revision{older, newer} { // the state before any commit is known: it is empty
		if r > 0 && r < v.kept {
			return v.notKept(r, time.Time{})
		}
	}
	var failed error
	err = v.walk(prefix, start, v.head, older, true, func(kv keyVersion) bool {
		if kv.revision <= older {
			return true
		}
		var was version
		is := kv.version
		if was, _, failed = v.versionAt(kv.key, older); failed == nil && kv.revision > newer {
			is, _, failed = v.versionAt(kv.key, newer)
		}
		d := ledger.KeyDiff{
			Key:  ledger.Key(kv.key),
			From: ledger.Version{Revision: was.revision, Value: ledger.Value(was.value)},
			To:   ledger.Version{Revision: is.revision, Value: ledger.Value(is.value)},
		}
		switch {
		case failed != nil:
			return false
		case d.From.Value.Equal(d.To.Value):
			return true
		case from > to:
			d.From, d.To = d.To, d.From
		}
		return yield(d)
	})
	if failed != nil {
		return failed
	}
	return err
}

// Changed yields the keys that were set or deleted after a revision, each with its
// value in force at the view's revision, in the order of the keys, from the first at or
// after start, until yield returns false.
func (v *View) Changed(since ledger.Revision, start string, yield func(ledger.Key, ledger.Version) bool) (err error) {
	defer v.guard(&err)
	if since > 0 && since < v.kept {
		return v.notKept(since, time.Time{})
	}
	return v.walk("", start, v.rev, since, true, func(kv keyVersion) bool {
		return kv.revision <= since || yield(ledger.Key(kv.key), ledger.Version{Revision: kv.revision, Value: ledger.Value(kv.value)})
	})
}

// Resolve finds the revision of a moment.
func (v *View) Resolve(at At) (rev ledger.Revision, err error) {
	defer v.guard(&err)
	switch {
	case !at.Time.IsZero():
		return v.revisionAt(at.Time)
	case at.Revision > v.head:
		return 0, &ledger.RangeError{Tenant: v.tenant, Revision: at.Revision, Head: v.head}
	case at.Revision > 0 && at.Revision < v.kept:
		return 0, v.notKept(at.Revision, time.Time{})
	}
	return at.Revision, nil
}

// Since finds the first commit that is not earlier than a time; the one after the
// head when all are. If that may be one whose history is not kept, it is the last of
// these.
func (v *View) Since(at time.Time) (rev ledger.Revision, err error) {
	defer v.guard(&err)
	if err := v.notInFuture(at); err != nil {
		return 0, err
	}
	rev, err = v.firstAfter(at.Add(-1))
	if rev == v.kept && v.kept > 1 {
		rev--
	}
	return rev, err
}

// Summary is a commit without its changes, and its id. Its errors are those of Commit.
func (v *View) Summary(rev ledger.Revision) (s ledger.Summary, id ledger.CommitID, err error) {
	defer v.guard(&err)
	if c, ok := v.tailCommit(rev); ok {
		return c.Summary(), c.ID, nil
	}
	if rev < v.kept && v.lookup(&v.commits, bucketCommits, commitKey(v.tenant, rev)) == nil {
		return s, id, v.notKept(rev, time.Time{})
	}
	return v.summarize(rev)
}

// ID is the id of the commit that led to a revision; the zero CommitID at revision 0. Its
// other errors are those of Commit.
func (v *View) ID(rev ledger.Revision) (id ledger.CommitID, err error) {
	defer v.guard(&err)
	switch {
	case rev == 0:
		return id, nil
	case rev == v.head:
		return v.newest.ID, nil
	case rev > v.head:
		return id, &ledger.RangeError{Tenant: v.tenant, Revision: rev, Head: v.head}
	}
	if c, ok := v.tailCommit(rev); ok {
		return c.ID, nil
	}
	if rev < v.kept && v.lookup(&v.commits, bucketCommits, commitKey(v.tenant, rev)) == nil {
		if rev+1 == v.kept { // the first commit that is kept names it
			c, err := v.commit(v.kept)
			if err != nil {
				return id, err
			}
			return c.Parent, nil
		}
		return id, v.notKept(rev, time.Time{})
	}
	c, err := v.summary(rev)
	return c.id, err
}

// summary reads a stored commit without its changes.
func (v *View) summary(rev ledger.Revision) (storedCommit, error) {
	key := commitKey(v.tenant, rev)
	b := v.lookup(&v.commits, bucketCommits, key)
	if b == nil {
		return storedCommit{}, damaged("commit %s%s is missing", v.tenant, rev)
	}
	return summarized(key, b)
}

// summarize decodes a stored commit's summary.
func (v *View) summarize(rev ledger.Revision) (ledger.Summary, ledger.CommitID, error) {
	c, err := v.summary(rev)
	if err != nil {
		return ledger.Summary{}, c.id, err
	}
	s, err := ledger.Summarize(c.summary)
	if err != nil {
		err = damaged("commit %s%s: %v", v.tenant, rev, err)
	}
	return s, c.id, err
}

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

// scanBudget is how many commits a call of Log may look at: a query that selects
// few of many answers in parts.
const scanBudget = 20_000

// Log yields the commits that the query selects, newest first, until yield returns
// false. It returns the revision to continue from, 0 at the end. It ends at
// HistoryStart; the error is a *ledger.HistoryError if it would begin before that.
func (v *View) Log(q Query, yield func(*ledger.Commit) bool) (next ledger.Revision, err error) {
	defer v.guard(&err)
	if q.From > 0 && q.From < v.kept {
		return 0, v.notKept(q.From, time.Time{})
	}
	revisions, err := v.candidates(q)
	if err != nil {
		return 0, err
	}
	for budget := scanBudget; ; budget-- {
		rev, ok, err := revisions.next()
		switch {
		case err != nil || !ok || rev < max(q.To, v.kept):
			return 0, err
		case budget == 0:
			return rev, nil
		}
		c, err := v.selected(q, rev)
		if err != nil {
			return 0, err
		}
		if c != nil && !yield(c) {
			return rev, nil
		}
	}
}

// matches reports whether author and message contain the texts of the query.
func (q Query) matches(s ledger.Summary) bool {
	contains := func(text, part string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(part)) }
	return contains(s.Author, q.Author) && contains(s.Message, q.Grep)
}

// selected is the commit, or nil when the query does not select it. A stored one
// is decoded only when author and message are right.
func (v *View) selected(q Query, rev ledger.Revision) (*ledger.Commit, error) {
	c, ok := v.tailCommit(rev)
	if !ok {
		var err error
		if q.Author != "" || q.Grep != "" {
			s, _, err := v.summarize(rev)
			if err != nil || !q.matches(s) {
				return nil, err
			}
		}
		if c.Commit, err = readCommit(v.tx, v.tenant, rev); err != nil {
			return nil, err
		}
	} else if !q.matches(c.Summary()) {
		return nil, nil
	}
	if !slices.ContainsFunc(c.Changes, q.Match) {
		return nil, nil
	}
	return c.Commit, nil
}

// Match says whether the query asks for the change's key.
func (q Query) Match(c ledger.Change) bool {
	if q.Key != "" {
		return c.Key == q.Key
	}
	return q.Prefix.Match(c.Key)
}

// revisions come one after the other, the newest first, each once.
type revisions interface {
	next() (ledger.Revision, bool, error)
}

// fewKeys is up to how many keys under a prefix their own histories are merged;
// with more of them, looking through all commits costs less.
const fewKeys = 256

// candidates are the revisions that may be selected, from q.From on.
func (v *View) candidates(q Query) (revisions, error) {
	if q.Key != "" {
		return v.newKeyLog(string(q.Key), q.From), nil
	}
	if q.Prefix == "" {
		return &everyRevision{q.From}, nil
	}
	var keys []string
	err := v.walk(q.Prefix, "", v.head, 0, false, func(kv keyVersion) bool {
		keys = append(keys, kv.key)
		return len(keys) <= fewKeys
	})
	if err != nil || len(keys) > fewKeys {
		return &everyRevision{q.From}, err
	}
	merged := &mergedLog{}
	for _, key := range keys {
		if err := merged.add(v.newKeyLog(key, q.From)); err != nil {
			return nil, err
		}
	}
	heap.Init(merged)
	return merged, nil
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

// keyLog is the revisions that changed one key: those in the tails, then those in
// the file.
type keyLog struct {
	v      *View
	key    []byte // with the tenant
	tails  []ledger.Revision
	before ledger.Revision // what comes next is older
	opened bool            // the key's entry was read, its blocks come next
	list   pointerReader
}

func (v *View) newKeyLog(key string, from ledger.Revision) *keyLog {
	l := &keyLog{v: v, key: nameKey(v.tenant, key), before: from + 1}
	v.s.mu.RLock()
	l.tails = v.active.versions(v.tenant, key, from)
	v.s.mu.RUnlock()
	if v.frozen != nil {
		l.tails = append(l.tails, v.frozen.versions(v.tenant, key, from)...)
	}
	return l
}

func (l *keyLog) next() (ledger.Revision, bool, error) {
	if len(l.tails) > 0 {
		l.before, l.tails = l.tails[0], l.tails[1:]
		return l.before, true, nil
	}
	for {
		p, ok, err := l.list.next()
		if err != nil {
			return 0, false, err
		}
		if !ok {
			list, err := l.more()
			if err != nil || len(list) == 0 {
				return 0, false, err
			}
			l.list = pointerReader{rest: list}
		} else if p.revision < l.before {
			l.before = p.revision
			return l.before, true, nil
		}
	}
}

// more is the next list of versions that the file holds.
func (l *keyLog) more() (pointers, error) {
	if l.opened {
		return l.v.block(l.key, l.before-1)
	}
	l.opened = true
	b := l.v.lookup(&l.v.keys, bucketKeys, l.key)
	if b == nil {
		return nil, nil
	}
	e, err := parseKey(l.key, b)
	return e.newest, err
}

// mergedLog is the revisions that changed some of several keys: a heap of their
// logs by the revision that each is at.
type mergedLog struct {
	logs []*keyLog
	at   []ledger.Revision
}

func (m *mergedLog) add(l *keyLog) error {
	r, ok, err := l.next()
	if ok {
		m.logs, m.at = append(m.logs, l), append(m.at, r)
	}
	return err
}

func (m *mergedLog) next() (ledger.Revision, bool, error) {
	if len(m.logs) == 0 {
		return 0, false, nil
	}
	r := m.at[0]
	for len(m.logs) > 0 && m.at[0] == r { // a commit may change several of the keys
		next, ok, err := m.logs[0].next()
		switch {
		case err != nil:
			return 0, false, err
		case ok:
			m.at[0] = next
			heap.Fix(m, 0)
		default:
			heap.Pop(m)
		}
	}
	return r, true, nil
}

func (m *mergedLog) Len() int           { return len(m.logs) }
func (m *mergedLog) Less(i, j int) bool { return m.at[i] > m.at[j] }
func (m *mergedLog) Push(any)           {}
func (m *mergedLog) Swap(i, j int) {
	m.logs[i], m.logs[j] = m.logs[j], m.logs[i]
	m.at[i], m.at[j] = m.at[j], m.at[i]
}

func (m *mergedLog) Pop() any {
	last := len(m.logs) - 1
	m.logs, m.at = m.logs[:last], m.at[:last]
	return nil
}
