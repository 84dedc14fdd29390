package replica

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"maps"
	"slices"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	bolt "go.etcd.io/bbolt"
)

// scrub reads the whole file once after it was opened, in the background: bbolt has
// no checksums of its own, and a key that a flipped bit has renamed otherwise just
// seems to be missing.
func scrub(ctx context.Context, db *bolt.DB) error {
	if err := check(ctx, db, nil); err != nil && ctx.Err() == nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// check verifies that the file matches its commits: every tenant's chain leads without
// a gap from where its kept history begins to its head, every change of it has its
// version, and every version its commit. Earlier commits are exactly those that some
// version points to. It shows m everything that it comes to.
func check(ctx context.Context, db *bolt.DB, m *made) (err error) {
	defer kind.Catch(&err)()
	return db.View(func(tx *bolt.Tx) error {
		if err := kind.CheckPages(tx, true); err != nil {
			return err
		}
		err := tx.Bucket(bucketTenants).ForEach(func(k, b []byte) error {
			rec, err := parseTenantRecord(k, b)
			if err != nil {
				return err
			}
			return checkTenant(ctx, tx, ledger.Tenant(k), rec, m)
		})
		if err != nil {
			return err
		}
		return checkTenants(tx)
	})
}

// checkTenants looks for commits of a tenant that is missing.
func checkTenants(tx *bolt.Tx) error {
	tenants := tx.Bucket(bucketTenants)
	c := tx.Bucket(bucketCommits).Cursor()
	for k, _ := c.First(); k != nil; {
		t, _, _ := bytes.Cut(k, []byte{0})
		if tenants.Get(t) == nil {
			return damaged("there are commits of %q, which is missing", t)
		}
		k, _ = c.Seek(append(bytes.Clone(t), 1)) // after all that begin with t and 0
	}
	return nil
}

func checkTenant(ctx context.Context, tx *bolt.Tx, t ledger.Tenant, rec tenantRecord, m *made) error {
	commits := &commitCheck{
		tenant: t, kept: rec.kept, made: m, before: make(map[ledger.Revision]uint64),
		ids: idCheck{tenant: t, bucket: tx.Bucket(bucketIDs), made: m}, requests: tx.Bucket(bucketRequests), bases: tx.Bucket(bucketBases),
		runs: runCheck{tenant: t, bucket: tx.Bucket(bucketRecords), made: m},
	}
	prefix := tenantKey(t)
	c := tx.Bucket(bucketCommits).Cursor()
	for k, b := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, b = c.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := commits.entry(k, b); err != nil {
			return err
		}
	}
	if err := commits.runs.end(); err != nil {
		return err
	}
	since := rec.marks[len(marksUpTo(rec.marks, rec.kept-1)):]
	if !slices.Equal(commits.marks, since) {
		return damaged("%s has %d commits since %s that reset its clock, and lists %d", t, len(commits.marks), rec.kept, len(since))
	}
	if commits.head != rec.head {
		return damaged("the commits of %s lead to %s, and its head is %s", t, commits.head.Revision, rec.head.Revision)
	}
	versions := &keyCheck{tenant: t, kept: rec.kept, commits: tx.Bucket(bucketCommits), made: m, points: make(map[ledger.Revision]uint64)}
	if err := versions.keys(ctx, tx); err != nil {
		return err
	}
	if versions.found != commits.changes || !maps.Equal(versions.points, commits.before) {
		return damaged("%s has %d versions since %s and its commits %d changes; %d commits before that have versions, and %d should",
			t, versions.found, rec.kept, commits.changes, len(versions.points), len(commits.before))
	}
	changes := commits.changes
	for _, n := range commits.before {
		changes += n
	}
	if changes != rec.versions {
		return damaged("%s has %d versions, and should have %d", t, changes, rec.versions)
	}
	return nil
}

// commitCheck checks a tenant's commits, in their order.
type commitCheck struct {
	tenant          ledger.Tenant
	kept            ledger.Revision
	made            *made
	requests, bases *bolt.Bucket
	ids             idCheck
	runs            runCheck
	// before is how many versions point into each commit before kept.
	before map[ledger.Revision]uint64
	// Of the commits since kept: the last of them, how many changes they have, and which reset
	// the clock.
	head    ledger.Head
	changes uint64
	marks   []mark
}

// entry checks a stored commit.
func (c *commitCheck) entry(k, b []byte) error {
	stored, err := wholeCommit(k, b)
	if err != nil {
		return err
	}
	commit, err := ledger.DecodeCommit(stored.encoded)
	if err != nil {
		return damaged("%v", err)
	}
	if commit.ID != stored.id {
		return damaged("commit %s%s has the id %s, and is kept as %s", c.tenant, commit.Revision, commit.ID, stored.id)
	}
	if !bytes.Equal(k, commitKey(c.tenant, commit.Revision)) {
		return damaged("commit %s%s stands at %q", commit.Tenant, commit.Revision, k)
	}
	if err := c.ids.commit(commit); err != nil {
		return err
	}
	if name := commit.RequestName(); name != "" && !bytes.Equal(c.requests.Get(nameKey(c.tenant, name)), revisionValue(commit.Revision)) {
		return damaged("the request id of %s%s is not found", c.tenant, commit.Revision)
	}
	if err := c.made.commit(commit, stored, c.kept); err != nil {
		return err
	}
	if commit.Revision < c.kept {
		c.before[commit.Revision], err = parseBase(k, c.bases.Get(k))
		return err
	}
	return c.next(commit, stored)
}

// next checks a commit whose history is kept: it must follow the one before it.
func (c *commitCheck) next(commit *ledger.Commit, stored storedCommit) error {
	if commit.Revision == c.kept && c.kept > 1 {
		c.head = ledger.Head{Revision: c.kept - 1, ID: commit.Parent}
	}
	if err := commit.Follows(c.head); err != nil {
		return damaged("%v", err)
	}
	if err := c.runs.commit(commit.Revision, stored.sequence); err != nil {
		return err
	}
	if commit.ResetsClock() {
		c.marks = append(c.marks, mark{commit.Revision, stored.time})
	}
	c.head = commit.Head(stored.sequence)
	c.changes += uint64(len(commit.Changes))
	return nil
}

// idCheck looks up the ids of a tenant's commits, in their order.
type idCheck struct {
	tenant ledger.Tenant
	bucket *bolt.Bucket
	made   *made
	// ids are those of the block that was read last; nil before the first.
	ids   []byte
	block uint64
}

func (c *idCheck) commit(commit *ledger.Commit) (err error) {
	block, at := idBlock(commit.Revision)
	if c.ids == nil || block != c.block {
		key := idBlockKey(c.tenant, block)
		if c.ids, err = unseal(bucketIDs, key, c.bucket.Get(key)); err != nil {
			return err
		}
		c.block = block
		c.made.idBlock()
	}
	if at *= idBytes; len(c.ids) < at+idBytes || !bytes.Equal(c.ids[at:at+idBytes], commit.ID[:idBytes]) {
		return damaged("the id of %s%s is not found", c.tenant, commit.Revision)
	}
	return nil
}

// keys walks a tenant's keys and their blocks of older versions side by side.
func (c *keyCheck) keys(ctx context.Context, tx *bolt.Tx) error {
	prefix := tenantKey(c.tenant)
	keys := tx.Bucket(bucketKeys).Cursor()
	versions := tx.Bucket(bucketVersions).Cursor()
	of, block := versions.Seek(prefix)
	for k, b := keys.Seek(prefix); bytes.HasPrefix(k, prefix); k, b = keys.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, err := parseKey(k, b)
		if err != nil {
			return err
		}
		c.before = 0
		c.made.key(e.blocks)
		if _, err := c.list(k, e.newest); err != nil {
			return err
		}
		for i := range e.blocks {
			key, oldest, ok := splitVersion(of)
			if !ok || !bytes.Equal(key, k) {
				return damaged("the versions after those of %q are %q", k, of)
			}
			older, err := unseal(bucketVersions, of, block)
			if err != nil {
				return err
			}
			// The last block lacks the versions that pruning has dropped.
			n, err := c.list(k, older)
			if short := i == e.blocks-1 && c.kept > 1 && 0 < n && n < blockSize; err != nil || n != blockSize && !short || c.before != oldest {
				return errors.Join(err, damaged("versions %q are %d up to %s", of, n, c.before))
			}
			of, block = versions.Next()
		}
	}
	if bytes.HasPrefix(of, prefix) {
		return damaged("versions %q have no key", of)
	}
	return nil
}

// keyCheck compares versions with the commits that they point into.
type keyCheck struct {
	tenant  ledger.Tenant
	kept    ledger.Revision
	commits *bolt.Bucket
	made    *made
	found   uint64                     // versions since kept
	points  map[ledger.Revision]uint64 // those before it, by the commit that they point into
	before  ledger.Revision            // the last of the key's versions so far; 0 for none
}

func (c *keyCheck) list(key []byte, list pointers) (n int, err error) {
	for r := (pointerReader{rest: list}); ; n++ {
		p, ok, err := r.next()
		if err != nil || !ok {
			return n, err
		}
		if c.before > 0 && p.revision >= c.before {
			return n, damaged("version %s of %q stands after %s", p.revision, key, c.before)
		}
		at := commitKey(c.tenant, p.revision)
		stored := c.commits.Get(at)
		if stored == nil {
			return n, damaged("version %s of %q has no commit", p.revision, key)
		}
		commit, err := splitCommit(at, stored)
		if err != nil {
			return n, err
		}
		if _, err := p.cut(key, commit.encoded); err != nil {
			return n, err
		}
		switch {
		case p.revision >= c.kept:
			c.made.version(key, p)
			c.found++
		case c.before > 0 && c.before < c.kept || p.length == 0:
			return n, damaged("version %s of %q should have been dropped: history is kept since %s", p.revision, key, c.kept)
		default:
			c.points[p.revision]++
		}
		c.before = p.revision
	}
}

// Content is the summary that a replica's file has of itself.
type Content struct {
	Epoch ledger.Epoch
	// Position up to which the journal was followed.
	Position ledger.Sequence
	Heads    map[ledger.Tenant]ledger.Head
}

// Verify reads the whole file of a replica of all tenants that no process has open for
// writing, and changes nothing in it. In addition to the checks of every start, it
// looks for entries that belong to no commit. visit is called with the message that
// each commit claims to be in, in the order of a tenant's commits: only the journal can
// confirm it. An error of IsDamage means that the file does not match its commits.
func Verify(ctx context.Context, path string, visit func(ledger.Tenant, ledger.Revision, ledger.Sequence)) (c *Content, err error) {
	db, err := kind.OpenReadOnly(path)
	if err != nil {
		return nil, err
	}
	s := &store{db: db, tenantStates: tenantStates{tenants: make(map[ledger.Tenant]*tenantState), heirs: make(map[ledger.Tenant]map[ledger.Tenant]bool)}}
	defer func() { err = errors.Join(err, db.Close()) }()
	defer kind.Catch(&err)() // before the file is closed
	if err := s.load(nil, nil); err != nil {
		return nil, err
	}
	m := &made{entries: make(map[string]int), visit: visit}
	if err := check(ctx, db, m); err != nil {
		return nil, err
	}
	c = &Content{Epoch: s.epoch, Position: s.position, Heads: make(map[ledger.Tenant]ledger.Head)}
	for t, ts := range s.tenants {
		c.Heads[t] = ts.head
	}
	return c, db.View(func(tx *bolt.Tx) error { return m.nothingMore(tx, s.tenants) })
}

// IsDamage reports whether an error means that the file differs from what was written.
func IsDamage(err error) bool { return errors.Is(err, boltfile.ErrDamaged) }

// made is the expected content of the file, computed from its commits, and compared
// with the actual content. A nil made compares nothing.
type made struct {
	visit func(ledger.Tenant, ledger.Revision, ledger.Sequence)
	// entries, by bucket.
	entries map[string]int
	// versions is a sum over those that the commits make less a sum over those that
	// there are: 0 in the end, when they are the same.
	versions uint64
}

// seed is random, so that an attacker cannot construct other versions with the same
// sum.
var seed = maphash.MakeSeed()

func versionHash(key []byte, r ledger.Revision, s span) uint64 {
	return maphash.Comparable(seed, [4]uint64{maphash.Bytes(seed, key), uint64(r), uint64(s.offset), uint64(s.length)})
}

// commit is shown every commit, a tenant's in their order. Of the versions of those
// before kept, their own checksums are proof enough.
func (m *made) commit(c *ledger.Commit, stored storedCommit, kept ledger.Revision) error {
	if m == nil {
		return nil
	}
	if stored.time != c.Time.UnixNano() {
		return damaged("commit %s%s is said to be of %s, and is of %s", c.Tenant, c.Revision, time.Unix(0, stored.time).UTC(), c.Time)
	}
	at, err := spans(stored.encoded, len(c.Changes))
	if err != nil || len(at) != len(c.Changes) {
		return damaged("commit %s%s has %d values for %d changes: %v", c.Tenant, c.Revision, len(at), len(c.Changes), err)
	}
	if c.Revision < kept {
		m.entries[string(bucketBases)]++
		at = nil
	}
	for i := range at {
		ch := c.Changes[i]
		m.versions += versionHash(nameKey(c.Tenant, ch.Key), c.Revision, at[i])
	}
	m.entries[string(bucketCommits)]++
	if c.RequestID != "" {
		m.entries[string(bucketRequests)]++
	}
	m.visit(c.Tenant, c.Revision, stored.sequence)
	return nil
}

// idBlock is called for every block of ids that some commit is in.
func (m *made) idBlock() {
	if m != nil {
		m.entries[string(bucketIDs)]++
	}
}

// record is called for every tenant's part of a record.
func (m *made) record() {
	if m != nil {
		m.entries[string(bucketRecords)]++
	}
}

// key is shown how many blocks of versions each key has.
func (m *made) key(blocks int) {
	if m != nil {
		m.entries[string(bucketKeys)]++
		m.entries[string(bucketVersions)] += blocks
	}
}

// version is shown every version since kept.
func (m *made) version(key []byte, p pointer) {
	if m != nil {
		m.versions -= versionHash(key, p.revision, p.span)
	}
}

// nothingMore compares the versions and counts the entries that there are.
// Meta holds three, and a position once something was applied.
func (m *made) nothingMore(tx *bolt.Tx, tenants map[ledger.Tenant]*tenantState) error {
	if m.versions != 0 {
		return damaged("the versions of its keys are not those that its commits make")
	}
	m.entries[string(bucketTenants)] = len(tenants)
	m.entries[string(bucketMeta)] = 3
	if tx.Bucket(bucketMeta).Get(metaPosition) != nil {
		m.entries[string(bucketMeta)]++
	}
	for t, ts := range tenants {
		block, at := idBlock(ts.head.Revision)
		if ids := tx.Bucket(bucketIDs).Get(idBlockKey(t, block)); len(ids) != 4+(at+1)*idBytes {
			return damaged("the last ids of %s have %d bytes", t, len(ids))
		}
	}
	return kind.CheckCounts(tx, "the commits make", m.entries)
}
