package replica

import (
	"slices"

	"github.com/stelehq/stele/internal/ledger"
)

// earlierName is what the keys of a query were called before the revision that copied them.
type earlierName struct {
	ledger.Name
	before ledger.Revision
}

// maxEarlier bounds the earlier names that a log follows, in bytes: callers keep them from
// page to page.
const maxEarlier = 2048

// Match says whether the query asks for a change that a commit made.
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
