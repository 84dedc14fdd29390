package replica

import (
	"bytes"

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
