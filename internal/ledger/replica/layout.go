package replica

import (
	"encoding/binary"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
)

// The buckets. Keys begin with the tenant and a zero byte, which no tenant and
// no key holds, so that each tenant's entries stand together and in key order.
//
//	meta      format, epoch, tenants, position
//	tenants   tenant                     -> head, number of versions, kept, marks
//	commits   tenant 0 revision          -> checksums, time, sequence, id, stored bytes
//	keys      tenant 0 key               -> checksum, number of blocks, its newest versions
//	versions  tenant 0 key 0 ^revision   -> checksum, a block of versions before those
//	ids       tenant 0 block             -> checksum, the first bytes of 512 commits' ids
//	requests  tenant 0 request name      -> revision
//	records   sequence tenant            -> checksum, its first revision there, number of commits
//	bases     tenant 0 revision          -> checksum, how many versions point into the commit
//
// A replica that drops history has, of each tenant, all commits from a revision on, which
// is called kept, with all their versions and the runs of records that lead to them.
// Before kept it has for each key that was set then the one version that was in force at
// kept-1, and the commits that such versions point into; bases counts these. Kept is 1
// while nothing was dropped.
var (
	bucketMeta     = boltfile.Meta
	bucketTenants  = []byte("tenants")
	bucketCommits  = []byte("commits")
	bucketKeys     = []byte("keys")
	bucketVersions = []byte("versions")
	bucketIDs      = []byte("ids")
	bucketRequests = []byte("requests")
	bucketRecords  = []byte("records")
	bucketBases    = []byte("bases")

	metaTenants  = []byte("tenants")
	metaPosition = []byte("position")
)

// kind has the version of everything in this file.
var kind = &boltfile.Kind{
	Name:    "replica",
	Format:  "stele-replica-7",
	Buckets: [][]byte{bucketMeta, bucketTenants, bucketCommits, bucketKeys, bucketVersions, bucketIDs, bucketRequests, bucketRecords, bucketBases},
}

func damaged(what string, args ...any) error { return kind.Damaged(what, args...) }

func unseal(bucket, key, sealed []byte) ([]byte, error) {
	body, ok := boltfile.Unseal(key, sealed)
	if !ok {
		return nil, damaged("%s %q fails its checksum", bucket, key)
	}
	return body, nil
}

func tenantKey(t ledger.Tenant) []byte {
	return append(append(make([]byte, 0, len(t)+1), t...), 0)
}

func commitKey(t ledger.Tenant, r ledger.Revision) []byte {
	b := append(append(make([]byte, 0, len(t)+9), t...), 0)
	return binary.BigEndian.AppendUint64(b, uint64(r))
}

// nameKey is where a key or the name of a request stands.
func nameKey[Name ~string](t ledger.Tenant, name Name) []byte {
	b := append(append(make([]byte, 0, len(t)+1+len(name)), t...), 0)
	return append(b, name...)
}

// Ids are hashes: an index sorted by them would touch a different page with every
// commit. Instead their first bytes are in the order of the commits, in blocks that
// only grow at the end, and are searched from the first to the last: a million commits
// are 4 MB. Each match is compared with the whole id.
const (
	idBytes  = 4
	idsBlock = 512 // commits
)

func idBlock(r ledger.Revision) (block uint64, at int) {
	return uint64(r-1) / idsBlock, int(uint64(r-1) % idsBlock)
}

func idBlockKey(t ledger.Tenant, block uint64) []byte {
	return binary.BigEndian.AppendUint64(tenantKey(t), block)
}

// idBlocks are the blocks that hold some of the commits; the first of them may
// have been begun.
func idBlocks(t ledger.Tenant, commits []tailCommit, ids func(key []byte) []byte) ([]entry, error) {
	var out []entry
	for len(commits) > 0 {
		block, at := idBlock(commits[0].Revision)
		key := idBlockKey(t, block)
		var body []byte
		if at > 0 {
			begun, err := unseal(bucketIDs, key, ids(key))
			if err != nil {
				return nil, err
			}
			if len(begun) < at*idBytes {
				return nil, damaged("ids %q is cut", key)
			}
			body = append(body, begun[:at*idBytes]...)
		}
		n := min(idsBlock-at, len(commits))
		for _, c := range commits[:n] {
			body = append(body, c.ID[:idBytes]...)
		}
		out = append(out, entry{key, boltfile.Seal(key, body)})
		commits = commits[n:]
	}
	return out, nil
}

func revisionValue(r ledger.Revision) []byte {
	return binary.AppendUvarint(nil, uint64(r))
}

func parseRevision(bucket, key, b []byte) (ledger.Revision, error) {
	r, n := binary.Uvarint(b)
	if n <= 0 || n != len(b) {
		return 0, damaged("%s %q is not a revision", bucket, key)
	}
	return ledger.Revision(r), nil
}

// tenantRecord is an entry of the bucket tenants.
type tenantRecord struct {
	head ledger.Head
	// versions that the tenant's keys have in all.
	versions uint64
	// kept is the first revision from which on history is complete; at most the head's.
	kept ledger.Revision
	// marks are the commits that reset the clock, oldest first. Commits before kept may be
	// among them.
	marks []mark
}

func (r tenantRecord) bytes(key []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(r.head.Revision))
	b = append(b, r.head.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.head.Time))
	b = binary.BigEndian.AppendUint64(b, uint64(r.head.Sequence))
	b = binary.BigEndian.AppendUint64(b, r.versions)
	b = binary.BigEndian.AppendUint64(b, uint64(r.kept))
	for _, m := range r.marks {
		b = binary.BigEndian.AppendUint64(b, uint64(m.revision))
		b = binary.BigEndian.AppendUint64(b, uint64(m.time))
	}
	return boltfile.Seal(key, b)
}

func parseTenantRecord(key, sealed []byte) (tenantRecord, error) {
	b, err := unseal(bucketTenants, key, sealed)
	if err != nil {
		return tenantRecord{}, err
	}
	const fixed, perMark = 5*8 + len(ledger.CommitID{}), 2 * 8
	if len(b) < fixed || (len(b)-fixed)%perMark != 0 {
		return tenantRecord{}, damaged("tenant %q has %d bytes", key, len(b))
	}
	var r tenantRecord
	r.head.Revision = ledger.Revision(binary.BigEndian.Uint64(b))
	b = b[8+copy(r.head.ID[:], b[8:]):]
	r.head.Time = int64(binary.BigEndian.Uint64(b))
	r.head.Sequence = ledger.Sequence(binary.BigEndian.Uint64(b[8:]))
	r.versions = binary.BigEndian.Uint64(b[16:])
	r.kept = ledger.Revision(binary.BigEndian.Uint64(b[24:]))
	for b = b[32:]; len(b) > 0; b = b[perMark:] {
		r.marks = append(r.marks, mark{ledger.Revision(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))})
	}
	if r.kept == 0 || r.kept > r.head.Revision {
		return tenantRecord{}, damaged("tenant %q keeps history since %s, and its head is %s", key, r.kept, r.head.Revision)
	}
	return r, nil
}

// positionValue is how far the journal was followed, and when that was known to be
// its end: after a restart without the journal, a reader still learns how old its
// answers are.
func positionValue(position ledger.Sequence, current time.Time) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(position))
	var nanos int64
	if !current.IsZero() {
		nanos = current.UnixNano()
	}
	return boltfile.Seal(metaPosition, binary.BigEndian.AppendUint64(b, uint64(nanos)))
}

func parsePosition(sealed []byte) (ledger.Sequence, time.Time, error) {
	b, err := unseal(bucketMeta, metaPosition, sealed)
	if err != nil {
		return 0, time.Time{}, err
	}
	if len(b) != 16 {
		return 0, time.Time{}, damaged("the position has %d bytes", len(b))
	}
	var current time.Time
	if nanos := int64(binary.BigEndian.Uint64(b[8:])); nanos != 0 {
		current = time.Unix(0, nanos)
	}
	return ledger.Sequence(binary.BigEndian.Uint64(b)), current, nil
}
