package replica

import (
	"container/heap"

	"github.com/stelehq/stele/internal/ledger"
)

// keyLog is the revisions that changed one key: those in the tails, then those in
// the file.
type keyLog struct {
	s      *snapshot
	key    []byte // with the tenant
	tails  []ledger.Revision
	before ledger.Revision // what comes next is older
	opened bool            // the key's entry was read, its blocks come next
	list   pointerReader
}

func (s *snapshot) newKeyLog(key ledger.Key, from ledger.Revision) *keyLog {
	l := &keyLog{s: s, key: nameKey(s.tenant, key), before: from + 1}
	s.store.mu.RLock()
	l.tails = s.active.versions(s.tenant, key, from)
	s.store.mu.RUnlock()
	if s.frozen != nil {
		l.tails = append(l.tails, s.frozen.versions(s.tenant, key, from)...)
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
		return l.s.block(l.key, l.before-1)
	}
	l.opened = true
	b := l.s.lookup(&l.s.keys, bucketKeys, l.key)
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
		heap.Fix(m, len(m.logs)-1)
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

func (m *mergedLog) Len() int { return len(m.logs) }

func (m *mergedLog) Less(i, j int) bool { return m.at[i] > m.at[j] }

func (m *mergedLog) Push(any) {}

func (m *mergedLog) Swap(i, j int) {
	m.logs[i], m.logs[j] = m.logs[j], m.logs[i]
	m.at[i], m.at[j] = m.at[j], m.at[i]
}

func (m *mergedLog) Pop() any {
	last := len(m.logs) - 1
	m.logs, m.at = m.logs[:last], m.at[:last]
	return nil
}
