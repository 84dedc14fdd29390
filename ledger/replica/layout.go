package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/stelehq/stele/ledger"
	"google.golang.org/protobuf/encoding/protowire"
)

// format is the version of everything in this file. A replica of another
// version is set aside and rebuilt.
const format = "stele-replica-1"

// The buckets. Keys begin with the tenant and a zero byte, which no tenant and
// no key holds, so that each tenant's entries stand together and in key order.
//
//	meta      format, epoch, shards, tenants, shard/<n> -> position
//	tenants   tenant                     -> head, number of changes
//	commits   tenant 0 revision          -> checksum, time, sequence, stored bytes
//	newest    tenant 0 key               -> checksum, revision, value (none: deleted)
//	versions  tenant 0 key 0 ^revision   -> checksum, where in the commit the value is
//	ids       tenant 0 block             -> checksum, the first bytes of 512 commits' ids
//	requests  tenant 0 request id        -> revision
//
// A key's versions stand newest first, so that the one in force at a revision is
// the first at or after ^revision: one seek. A value is kept in its commit and,
// while it is the newest, beside its key; the versions only point.
var (
	bucketMeta     = []byte("meta")
	bucketTenants  = []byte("tenants")
	bucketCommits  = []byte("commits")
	bucketNewest   = []byte("newest")
	bucketVersions = []byte("versions")
	bucketIDs      = []byte("ids")
	bucketRequests = []byte("requests")

	buckets = [][]byte{bucketMeta, bucketTenants, bucketCommits, bucketNewest, bucketVersions, bucketIDs, bucketRequests}
)

var (
	metaFormat  = []byte("format")
	metaEpoch   = []byte("epoch")
	metaShards  = []byte("shards")
	metaTenants = []byte("tenants")
)

func metaShard(n int) []byte { return fmt.Appendf(nil, "shard/%d", n) }

// errDamaged is in the chain of every error that means that the file does not
// hold what was written to it.
var errDamaged = errors.New("replica file is damaged")

func damaged(what string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(what, args...))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum covers the entry's key too, so that an entry in the wrong place is
// as visible as a flipped bit.
func checksum(key, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, body)
}

// seal puts the checksum before the body.
func seal(key, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), checksum(key, body)), body...)
}

func unseal(bucket, key, sealed []byte) ([]byte, error) {
	if len(sealed) < 4 || binary.BigEndian.Uint32(sealed) != checksum(key, sealed[4:]) {
		return nil, damaged("%s %q fails its checksum", bucket, key)
	}
	return sealed[4:], nil
}

func tenantKey(t ledger.Tenant) []byte {
	return append(append(make([]byte, 0, len(t)+1), t...), 0)
}

func commitKey(t ledger.Tenant, r ledger.Revision) []byte {
	b := append(append(make([]byte, 0, len(t)+9), t...), 0)
	return binary.BigEndian.AppendUint64(b, uint64(r))
}

func newestKey(t ledger.Tenant, k string) []byte {
	b := append(append(make([]byte, 0, len(t)+1+len(k)), t...), 0)
	return append(b, k...)
}

func versionKey(t ledger.Tenant, k ledger.Key, r ledger.Revision) []byte {
	return versionKeyOf(newestKey(t, string(k)), r)
}

// versionKeyOf is the key of a version of what stands at a newest key.
func versionKeyOf(newest []byte, r ledger.Revision) []byte {
	b := append(append(make([]byte, 0, len(newest)+9), newest...), 0)
	return binary.BigEndian.AppendUint64(b, ^uint64(r))
}

// splitVersion returns the newest key that the version belongs to.
func splitVersion(b []byte) (newest []byte, r ledger.Revision, ok bool) {
	if len(b) < 9 || b[len(b)-9] != 0 {
		return nil, 0, false
	}
	return b[:len(b)-9], ledger.Revision(^binary.BigEndian.Uint64(b[len(b)-8:])), true
}

// Ids are hashes: an index sorted by them would touch a page of its own with
// every commit. Instead their first bytes stand in the order of the commits, in
// blocks that only grow at the end, and are searched from the first to the last:
// a million commits are 4 MB. What is found is compared with the whole id.
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
		out = append(out, entry{key, seal(key, body)})
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
		return 0, damaged("%s %q is no revision", bucket, key)
	}
	return ledger.Revision(r), nil
}

// storedCommit is a commit as the commits bucket holds it.
type storedCommit struct {
	time     int64
	sequence ledger.Sequence
	encoded  []byte // in the memory map: valid as long as its transaction
}

func (c storedCommit) value(key []byte) []byte {
	b := make([]byte, 4, 20+len(c.encoded))
	b = binary.BigEndian.AppendUint64(b, uint64(c.time))
	b = binary.BigEndian.AppendUint64(b, uint64(c.sequence))
	b = append(b, c.encoded...)
	binary.BigEndian.PutUint32(b, checksum(key, b[4:]))
	return b
}

// splitCommit does not check the checksum: whoever takes one value out of a
// large commit checks that value, and whoever takes all of it checks the id.
func splitCommit(key, b []byte) (storedCommit, error) {
	if len(b) < 20 {
		return storedCommit{}, damaged("commit %q is cut", key)
	}
	return storedCommit{
		time:     int64(binary.BigEndian.Uint64(b[4:])),
		sequence: ledger.Sequence(binary.BigEndian.Uint64(b[12:])),
		encoded:  b[20:],
	}, nil
}

// newestEntry is a key's newest version; a tombstone has no value.
type newestEntry struct {
	revision ledger.Revision
	value    []byte
}

func (e newestEntry) bytes(key []byte) []byte {
	b := binary.AppendUvarint(make([]byte, 0, 10+len(e.value)), uint64(e.revision))
	return seal(key, append(b, e.value...))
}

func parseNewest(key, sealed []byte) (newestEntry, error) {
	b, err := unseal(bucketNewest, key, sealed)
	if err != nil {
		return newestEntry{}, err
	}
	r, n := binary.Uvarint(b)
	if n <= 0 {
		return newestEntry{}, damaged("newest %q has no revision", key)
	}
	return newestEntry{ledger.Revision(r), b[n:]}, nil
}

// span says where in its commit's stored bytes a value is; a deletion's is empty.
type span struct{ offset, length int }

func (s span) bytes(key, value []byte) []byte {
	b := make([]byte, 4, 14)
	b = binary.AppendUvarint(b, uint64(s.offset))
	b = binary.AppendUvarint(b, uint64(s.length))
	binary.BigEndian.PutUint32(b, checksum(key, value))
	return b
}

// cut takes the version's value out of its commit.
func cutVersion(key, b, encoded []byte) ([]byte, error) {
	if len(b) < 6 {
		return nil, damaged("version %q is cut", key)
	}
	offset, n := binary.Uvarint(b[4:])
	if n <= 0 {
		return nil, damaged("version %q has no offset", key)
	}
	length, m := binary.Uvarint(b[4+n:])
	if m <= 0 || offset > uint64(len(encoded)) || length > uint64(len(encoded))-offset {
		return nil, damaged("version %q points outside of its commit", key)
	}
	value := encoded[offset : offset+length]
	if binary.BigEndian.Uint32(b) != checksum(key, value) {
		return nil, damaged("version %q fails its checksum", key)
	}
	return value, nil
}

// spans finds each change's value in a commit's stored bytes, in order.
func spans(encoded []byte) ([]span, error) {
	const changes, value = 10, 2 // field numbers of Commit.changes, Change.value
	var out []span
	for at := 0; at < len(encoded); {
		num, typ, n := protowire.ConsumeTag(encoded[at:])
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		at += n
		size := protowire.ConsumeFieldValue(num, typ, encoded[at:])
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		if num == changes && typ == protowire.BytesType {
			body, _ := protowire.ConsumeBytes(encoded[at:])
			var s span
			for in, base := 0, at+size-len(body); in < len(body); {
				num, typ, n := protowire.ConsumeTag(body[in:])
				if n < 0 {
					return nil, protowire.ParseError(n)
				}
				in += n
				size := protowire.ConsumeFieldValue(num, typ, body[in:])
				if size < 0 {
					return nil, protowire.ParseError(size)
				}
				if num == value && typ == protowire.BytesType {
					v, _ := protowire.ConsumeBytes(body[in:])
					s = span{base + in + size - len(v), len(v)}
				}
				in += size
			}
			out = append(out, s)
		}
		at += size
	}
	return out, nil
}

// tenantRecord is what the tenants bucket holds.
type tenantRecord struct {
	head    ledger.Head
	changes uint64
}

func (r tenantRecord) bytes(key []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(r.head.Revision))
	b = append(b, r.head.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.head.Time))
	b = binary.BigEndian.AppendUint64(b, uint64(r.head.Sequence))
	return seal(key, binary.BigEndian.AppendUint64(b, r.changes))
}

func parseTenantRecord(key, sealed []byte) (tenantRecord, error) {
	b, err := unseal(bucketTenants, key, sealed)
	if err != nil {
		return tenantRecord{}, err
	}
	if len(b) != 4*8+len(ledger.CommitID{}) {
		return tenantRecord{}, damaged("tenant %q has %d bytes", key, len(b))
	}
	var r tenantRecord
	r.head.Revision = ledger.Revision(binary.BigEndian.Uint64(b))
	b = b[8+copy(r.head.ID[:], b[8:]):]
	r.head.Time = int64(binary.BigEndian.Uint64(b))
	r.head.Sequence = ledger.Sequence(binary.BigEndian.Uint64(b[8:]))
	r.changes = binary.BigEndian.Uint64(b[16:])
	return r, nil
}

// positionValue is how far a shard was followed, and when that was known to be
// all there is: after a restart without the journal, a reader still learns how
// old its answers are.
func positionValue(key []byte, position ledger.Sequence, current time.Time) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(position))
	var nanos int64
	if !current.IsZero() {
		nanos = current.UnixNano()
	}
	return seal(key, binary.BigEndian.AppendUint64(b, uint64(nanos)))
}

func parsePosition(key, sealed []byte) (ledger.Sequence, time.Time, error) {
	b, err := unseal(bucketMeta, key, sealed)
	if err != nil {
		return 0, time.Time{}, err
	}
	if len(b) != 16 {
		return 0, time.Time{}, damaged("position %q has %d bytes", key, len(b))
	}
	var current time.Time
	if nanos := int64(binary.BigEndian.Uint64(b[8:])); nanos != 0 {
		current = time.Unix(0, nanos)
	}
	return ledger.Sequence(binary.BigEndian.Uint64(b)), current, nil
}
