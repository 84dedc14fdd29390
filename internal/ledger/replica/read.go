package replica

import (
	"bytes"
	"encoding/binary"
	"sort"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	bolt "go.etcd.io/bbolt"
)

// At names a moment of a tenant's history; the zero At is the head.
type At struct {
	Revision ledger.Revision
	Time     time.Time
}

// State describes the state that an answer was read from.
type State struct {
	// Revision that the answer is the state of, and its commit.
	Revision ledger.Revision
	ID       ledger.CommitID
	// Head is the newest revision that the replica holds.
	Head ledger.Revision
	// Age is the time since the replica was known to hold everything; negative
	// while that was never known.
	Age time.Duration
	// Stale is set when the replica has stopped following the journal.
	Stale bool
}

// Entry is a key that is set.
type Entry struct {
	Key      string
	Value    string
	Revision ledger.Revision
}

// View is a tenant's state at one revision, and its history up to the head that
// it had. It stays the same for as long as it is open, and belongs to the
// goroutine that opened it.
type View struct {
	r      *Replica
	s      *store
	tenant ledger.Tenant
	// rev is the revision that is read, head the newest when it was opened.
	rev, head ledger.Revision
	// id is the id of the commit rev.
	id ledger.CommitID
	// kept is the first revision whose history the replica keeps; 0 without a head.
	kept           ledger.Revision
	newest         ledger.Head
	active, frozen *tail
	tx             *bolt.Tx
	// Of the buckets that were read: opening one costs as much as a read.
	commits, keys, versions *bolt.Cursor
	// current is when the replica was last known to hold everything.
	current time.Time
	// faults is what SetPanicOnFault was before.
	faults bool
}

// revisionAt finds the newest commit that is not later. Times never go back along
// a chain, so it is a binary search.
func (v *View) revisionAt(at time.Time) (ledger.Revision, error) {
	if err := v.notInFuture(at); err != nil {
		return 0, err
	}
	if v.head == 0 {
		return 0, &ledger.RangeError{Tenant: v.tenant, Time: at}
	}
	after, err := v.firstAfter(at)
	if err != nil || after > v.kept {
		return after - 1, err
	}
	if v.kept > 1 {
		return 0, v.notKept(0, at)
	}
	first, err := v.timeOf(1)
	if err != nil {
		return 0, err
	}
	return 0, &ledger.RangeError{Tenant: v.tenant, Time: at, Head: v.head, First: time.Unix(0, first)}
}

// notInFuture rejects a time in the future, because the state at that time is not known
// yet.
func (v *View) notInFuture(at time.Time) error {
	if at.After(time.Now()) {
		return &ledger.RangeError{Tenant: v.tenant, Time: at, Head: v.head, Future: true}
	}
	return nil
}

// firstAfter finds the first commit that is later, among those whose history is kept; the
// one after the head when none is.
func (v *View) firstAfter(at time.Time) (ledger.Revision, error) {
	nanos := int64(-1) // no commit is before 1970
	if at.Unix() >= 0 {
		nanos = at.UnixNano()
	}
	var failed error
	if v.head == 0 {
		return 1, nil
	}
	notAfter := sort.Search(int(v.head-v.kept)+1, func(i int) bool {
		t, err := v.timeOf(v.kept + ledger.Revision(i))
		if err != nil {
			failed = err
		}
		return t > nanos
	})
	return v.kept + ledger.Revision(notAfter), failed
}

func (v *View) timeOf(r ledger.Revision) (int64, error) {
	if c, ok := v.tailCommit(r); ok {
		return c.Time.UnixNano(), nil
	}
	c, err := v.stored(r)
	return c.time, err
}

func (v *View) tailCommit(r ledger.Revision) (tailCommit, bool) {
	v.s.mu.RLock()
	c, ok := v.active.commit(v.tenant, r)
	v.s.mu.RUnlock()
	if !ok && v.frozen != nil {
		c, ok = v.frozen.commit(v.tenant, r)
	}
	return c, ok
}

// cursor opens a bucket once in the life of the view.
func (v *View) cursor(c **bolt.Cursor, bucket []byte) *bolt.Cursor {
	if *c == nil {
		*c = v.tx.Bucket(bucket).Cursor()
	}
	return *c
}

func (v *View) lookup(c **bolt.Cursor, bucket, key []byte) []byte {
	if k, b := v.cursor(c, bucket).Seek(key); bytes.Equal(k, key) {
		return b
	}
	return nil
}

func (v *View) stored(r ledger.Revision) (storedCommit, error) {
	key := commitKey(v.tenant, r)
	b := v.lookup(&v.commits, bucketCommits, key)
	if b == nil {
		return storedCommit{}, damaged("commit %s%s is missing", v.tenant, r)
	}
	return splitCommit(key, b)
}

// commit returns one whole commit, not later than the snapshot.
func (v *View) commit(r ledger.Revision) (*ledger.Commit, error) {
	if r == 0 || r > v.head {
		return nil, &ledger.RangeError{Tenant: v.tenant, Revision: r, Head: v.head}
	}
	if c, ok := v.tailCommit(r); ok {
		return c.Commit, nil
	}
	if r < v.kept && v.lookup(&v.commits, bucketCommits, commitKey(v.tenant, r)) == nil {
		return nil, v.notKept(r, time.Time{})
	}
	return readCommit(v.tx, v.tenant, r)
}

// version finds the value in force for a key at the view's revision.
func (v *View) version(key string) (found version, ok bool, err error) {
	return v.versionAt(key, v.rev)
}

// versionAt finds the value in force for a key at a revision that is not after the
// head; the value is empty if the key was deleted, and ok is false if it was never set.
func (v *View) versionAt(key string, r ledger.Revision) (version, bool, error) {
	if found, ok := v.tailVersion(key, r); ok {
		return found, true, nil
	}
	k := nameKey(v.tenant, key)
	p, ok, err := v.storedVersion(k, r)
	if err != nil || !ok {
		return version{}, false, err
	}
	value, err := v.valueOf(k, p)
	return version{revision: p.revision, value: value}, true, err
}

func (v *View) tailVersion(key string, r ledger.Revision) (version, bool) {
	v.s.mu.RLock()
	found, ok := v.active.at(v.tenant, key, r)
	v.s.mu.RUnlock()
	if !ok && v.frozen != nil {
		found, ok = v.frozen.at(v.tenant, key, r)
	}
	return found, ok
}

// get returns a key that is set.
func (v *View) get(key string) (Entry, bool, error) {
	found, ok, err := v.version(key)
	if err != nil || !ok || found.value == "" {
		return Entry{}, false, err
	}
	return Entry{key, found.value, found.revision}, true, nil
}

// list yields the keys that are set under the prefix, from the first at or
// after from, until yield returns false.
func (v *View) list(prefix ledger.Prefix, from string, yield func(Entry) bool) error {
	return v.walk(prefix, from, v.rev, 0, true, func(kv keyVersion) bool {
		return kv.value == "" || yield(Entry{kv.key, kv.value, kv.revision})
	})
}

// listKeys is list without the values.
func (v *View) listKeys(prefix ledger.Prefix, from string, yield func(Entry) bool) error {
	return v.walk(prefix, from, v.rev, 0, false, func(kv keyVersion) bool {
		return kv.value == "" || yield(Entry{Key: kv.key, Revision: kv.revision})
	})
}

// walk yields the value in force at a revision for every key under the prefix that was
// ever set, from the first at or after from, until yield returns false. It may omit
// keys that have not changed after since. Without values it may yield unread for a
// value that is not empty: each value in the file costs a lookup of its commit.
func (v *View) walk(prefix ledger.Prefix, from string, r, since ledger.Revision, values bool, yield func(keyVersion) bool) error {
	if from < string(prefix) {
		from = string(prefix)
	}
	file := v.newFileScan(prefix, from, r, since, values)
	tails := []*tailScan{{v: v, tail: v.active, live: true, prefix: prefix, rev: r, next: from, more: true}}
	if v.frozen != nil {
		tails = append(tails, &tailScan{v: v, tail: v.frozen, prefix: prefix, rev: r, next: from, more: true})
	}
	for {
		// The smallest key wins; of equal ones, the newest: active, frozen, file.
		best, ok, err := file.peek()
		if err != nil {
			return err
		}
		for i := len(tails) - 1; i >= 0; i-- {
			if kv, more := tails[i].peek(); more && (!ok || kv.key <= best.key) {
				best, ok = kv, true
			}
		}
		if !ok {
			return nil
		}
		file.skip(best.key)
		for _, t := range tails {
			t.skip(best.key)
		}
		if !yield(best) {
			return nil
		}
	}
}

// unread stands for a value that was not asked for.
const unread = "?"

// tailScan reads a tail's keys in small steps, so that a long listing never
// holds the lock that commits wait for.
type tailScan struct {
	v      *View
	tail   *tail
	live   bool // still written to
	prefix ledger.Prefix
	rev    ledger.Revision
	next   string
	more   bool
	buf    []keyVersion
}

func (t *tailScan) peek() (keyVersion, bool) {
	const step = 256
	for len(t.buf) == 0 && t.more {
		if t.live {
			t.v.s.mu.RLock()
		}
		t.buf, t.next = t.tail.scan(t.v.tenant, t.prefix, t.next, t.rev, step, t.buf[:0])
		if t.live {
			t.v.s.mu.RUnlock()
		}
		t.more = t.next != ""
	}
	if len(t.buf) == 0 {
		return keyVersion{}, false
	}
	return t.buf[0], true
}

func (t *tailScan) skip(key string) {
	if len(t.buf) > 0 && t.buf[0].key == key {
		t.buf = t.buf[1:]
	}
}

// fileScan reads the file's keys.
type fileScan struct {
	v          *View
	cursor     *bolt.Cursor
	rev, since ledger.Revision
	values     bool
	prefix     []byte // with the tenant
	k, b       []byte // under the cursor
	at         keyVersion
	ready      bool // at is what peek returns
}

func (v *View) newFileScan(prefix ledger.Prefix, from string, r, since ledger.Revision, values bool) *fileScan {
	f := &fileScan{v: v, rev: r, since: since, values: values, prefix: nameKey(v.tenant, string(prefix)), cursor: v.tx.Bucket(bucketKeys).Cursor()}
	f.k, f.b = f.cursor.Seek(nameKey(v.tenant, from))
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
	p, ok, err := f.v.inForce(f.k, e, f.rev)
	if err != nil {
		return err
	}
	if ok && p.revision > f.since {
		value := ""
		switch {
		case f.values:
			if value, err = f.v.valueOf(f.k, p); err != nil {
				return err
			}
		case p.length > 0:
			value = unread
		}
		f.at, f.ready = keyVersion{string(f.k[len(f.v.tenant)+1:]), version{revision: p.revision, value: value}}, true
	}
	f.k, f.b = f.cursor.Next()
	return nil
}

func (f *fileScan) skip(key string) {
	if f.ready && f.at.key == key {
		f.ready = false
	}
}

// findID finds the revision of a commit by the beginning of its id, idBytes at
// least.
func (v *View) findID(id []byte) (ledger.Revision, error) {
	if r, ok := v.tailID(id); ok {
		return r, nil
	}
	prefix := tenantKey(v.tenant)
	cursor := v.tx.Bucket(bucketIDs).Cursor()
	for k, b := cursor.Seek(prefix); bytes.HasPrefix(k, prefix); k, b = cursor.Next() {
		body, err := unseal(bucketIDs, k, b)
		if err != nil {
			return 0, err
		}
		first := ledger.Revision(binary.BigEndian.Uint64(k[len(prefix):])*idsBlock + 1)
		for i := 0; i+idBytes <= len(body); i += idBytes {
			r := first + ledger.Revision(i/idBytes)
			if r > v.head || !bytes.Equal(body[i:i+idBytes], id[:idBytes]) {
				continue
			}
			if r < v.kept && v.lookup(&v.commits, bucketCommits, commitKey(v.tenant, r)) == nil {
				continue
			}
			c, err := v.commit(r)
			if err != nil {
				return 0, err
			}
			if bytes.HasPrefix(c.ID[:], id) {
				return r, nil
			}
		}
	}
	if v.kept > 1 {
		return 0, ledger.NotFound("%s has no commit since %s whose id begins with %x, and this gateway does not keep those before", v.tenant, v.kept, id)
	}
	return 0, ledger.NotFound("%s has no commit whose id begins with %x", v.tenant, id)
}

func (v *View) tailID(id []byte) (ledger.Revision, bool) {
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	for _, t := range []*tail{v.active, v.frozen} {
		if t == nil || t.tenants[v.tenant] == nil {
			continue
		}
		for _, c := range t.tenants[v.tenant].commits {
			if c.Revision > v.head { // applied since the view was opened
				break
			}
			if bytes.HasPrefix(c.ID[:], id) {
				return c.Revision, true
			}
		}
	}
	return 0, false
}

// request finds the commit that a request made.
func (v *View) request(name ledger.RequestName) (ledger.Revision, bool, error) {
	v.s.mu.RLock()
	r, ok := v.active.request(v.tenant, name)
	v.s.mu.RUnlock()
	if !ok && v.frozen != nil {
		r, ok = v.frozen.request(v.tenant, name)
	}
	if ok && r <= v.head { // else it was applied since the view was opened
		return r, true, nil
	}
	key := nameKey(v.tenant, string(name))
	b := v.tx.Bucket(bucketRequests).Get(key)
	if b == nil {
		return 0, false, nil
	}
	r, err := parseRevision(bucketRequests, key, b)
	return r, err == nil, err
}
