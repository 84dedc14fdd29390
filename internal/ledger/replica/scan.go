package replica

import (
	"bytes"
	"container/heap"

	"github.com/stelehq/stele/internal/ledger"
	bolt "go.etcd.io/bbolt"
)

// scan reads, for every key under a prefix that was ever set, the value in force at a
// revision.
type scan struct {
	s     *snapshot
	file  fileScan
	tails [2]tailScan // the active one, and the frozen one if there is one
	used  int         // of tails
}

// scan begins at the first key at or after from. It may omit keys that have not changed
// after since. Without values it may yield unread for a value that is not empty: each
// value in the file costs a lookup of its commit.
func (s *snapshot) scan(prefix ledger.Prefix, from ledger.Key, r, since ledger.Revision, values bool) (c *scan, err error) {
	defer s.guard(&err)
	from = max(from, ledger.Key(prefix))
	c = &scan{s: s, file: s.newFileScan(prefix, from, r, since, values), used: 1}
	c.tails[0] = tailScan{s: s, tail: s.active, live: true, prefix: prefix, rev: r, next: from, more: true}
	if s.frozen != nil {
		c.tails[1] = tailScan{s: s, tail: s.frozen, prefix: prefix, rev: r, next: from, more: true}
		c.used++
	}
	return c, nil
}

// next returns the next key; ok is false at the end. The smallest key wins; of equal ones,
// the newest: active, frozen, file.
func (c *scan) next() (best keyVersion, ok bool, err error) {
	defer c.s.guard(&err)
	if best, ok, err = c.file.peek(); err != nil {
		return best, false, err
	}
	tails := c.tails[:c.used]
	for i := len(tails) - 1; i >= 0; i-- {
		if kv, more := tails[i].peek(); more && (!ok || kv.key <= best.key) {
			best, ok = kv, true
		}
	}
	c.file.skip(best.key)
	for i := range tails {
		tails[i].skip(best.key)
	}
	return best, ok, nil
}

// unread stands for a value that was not asked for.
const unread = "?"

// tailScan reads a tail's keys in small steps, so that a long listing never
// holds the lock that commits wait for.
type tailScan struct {
	s      *snapshot
	tail   *tail
	live   bool // still written to
	prefix ledger.Prefix
	rev    ledger.Revision
	next   ledger.Key
	more   bool
	buf    []keyVersion
}

func (t *tailScan) peek() (keyVersion, bool) {
	const step = 256
	for len(t.buf) == 0 && t.more {
		if t.live {
			t.s.store.mu.RLock()
		}
		t.buf, t.next = t.tail.scan(t.s.tenant, t.prefix, t.next, t.rev, step, t.buf[:0])
		if t.live {
			t.s.store.mu.RUnlock()
		}
		t.more = t.next != ""
	}
	if len(t.buf) == 0 {
		return keyVersion{}, false
	}
	return t.buf[0], true
}

func (t *tailScan) skip(key ledger.Key) {
	if len(t.buf) > 0 && t.buf[0].key == key {
		t.buf = t.buf[1:]
	}
}

// fileScan reads the file's keys.
type fileScan struct {
	s          *snapshot
	cursor     *bolt.Cursor
	rev, since ledger.Revision
	values     bool
	prefix     []byte // with the tenant
	k, b       []byte // under the cursor
	at         keyVersion
	ready      bool // at is what peek returns
}

func (s *snapshot) newFileScan(prefix ledger.Prefix, from ledger.Key, r, since ledger.Revision, values bool) fileScan {
	f := fileScan{s: s, rev: r, since: since, values: values, prefix: nameKey(s.tenant, prefix), cursor: s.tx.Bucket(bucketKeys).Cursor()}
	f.k, f.b = f.cursor.Seek(nameKey(s.tenant, from))
	return f
}

func (f *fileScan) peek() (keyVersion, bool, error) {
	for !f.ready && bytes.HasPrefix(f.k, f.prefix) {
		if err := f.read(); err != nil {
			return keyVersion{}, false, err
		}
	}
	return f.at, f.ready, nil
}

// read takes the entry under the cursor, and moves on.
func (f *fileScan) read() error {
	e, err := parseKey(f.k, f.b)
	if err != nil {
		return err
	}
	p, ok, err := f.s.inForce(f.k, e, f.rev)
	if err != nil {
		return err
	}
	if ok && p.revision > f.since {
		var value ledger.Value
		switch {
		case f.values:
			if value, err = f.s.valueOf(f.k, p); err != nil {
				return err
			}
		case p.length > 0:
			value = unread
		}
		f.at, f.ready = keyVersion{ledger.Key(f.k[len(f.s.tenant)+1:]), version{revision: p.revision, value: value}}, true
	}
	f.k, f.b = f.cursor.Next()
	return nil
}

func (f *fileScan) skip(key ledger.Key) {
	if f.ready && f.at.key == key {
		f.ready = false
	}
}

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
