package replica

import (
	"context"
	"errors"
	"hash/maphash"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	bolt "go.etcd.io/bbolt"
)

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
	s := &store{db: db, tenants: make(map[ledger.Tenant]*tenantState), heirs: make(map[ledger.Tenant]map[ledger.Tenant]bool)}
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
