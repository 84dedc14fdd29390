package replica

import (
	"bytes"
	"encoding/binary"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	"google.golang.org/protobuf/encoding/protowire"
)

// A key's versions only point to its values, which stay in their commits. The newest of
// them are in the key's own entry, so that a write touches one page; whenever there are
// more than blockSize, the oldest blockSize of those become a block of the bucket
// versions. Both are newest first. A block is named by its oldest revision: the block
// with the value in force at a revision is the first at or after ^revision, which is
// one seek.
const blockSize = 16

// pointer is one version of a key: where in its commit the value is.
type pointer struct {
	revision ledger.Revision
	span
	sum uint32 // of key and value: a reader of one value in a commit verifies only this
}

// span says where in its commit's stored bytes a value is; a deletion's is empty.
type span struct{ offset, length int }

// pointers are versions of one key as the file holds them, newest first.
type pointers []byte

// sealPointers encodes versions after a head.
func sealPointers(key, head []byte, versions []pointer) []byte {
	const most = 3*binary.MaxVarintLen32 + 4
	b := append(make([]byte, 4, 4+len(head)+len(versions)*most), head...)
	for i, p := range versions {
		r := p.revision
		if i > 0 {
			r = versions[i-1].revision - r
		}
		b = binary.AppendUvarint(b, uint64(r))
		b = binary.AppendUvarint(b, uint64(p.offset))
		b = binary.AppendUvarint(b, uint64(p.length))
		b = binary.BigEndian.AppendUint32(b, p.sum)
	}
	binary.BigEndian.PutUint32(b, boltfile.Checksum(key, b[4:]))
	return b
}

// pointerReader reads pointers one after the other.
type pointerReader struct {
	rest pointers
	last ledger.Revision
}

// next answers false at the end.
func (r *pointerReader) next() (p pointer, ok bool, err error) {
	if len(r.rest) == 0 {
		return p, false, nil
	}
	var n [3]uint64
	b := []byte(r.rest)
	for i := range n {
		v, size := binary.Uvarint(b)
		if size <= 0 {
			return p, false, damaged("a version is cut")
		}
		n[i], b = v, b[size:]
	}
	if len(b) < 4 {
		return p, false, damaged("a version has no checksum")
	}
	p = pointer{ledger.Revision(n[0]), span{int(n[1]), int(n[2])}, binary.BigEndian.Uint32(b)}
	if r.last > 0 {
		p.revision = r.last - p.revision
	}
	if p.revision == 0 || r.last > 0 && p.revision >= r.last {
		return p, false, damaged("versions are out of order")
	}
	r.rest, r.last = pointers(b[4:]), p.revision
	return p, true, nil
}

// inForce is the version in force at the revision, if it is one of these.
func (ps pointers) inForce(at ledger.Revision) (pointer, bool, error) {
	for r := (pointerReader{rest: ps}); ; {
		p, ok, err := r.next()
		if err != nil || !ok || p.revision <= at {
			return p, ok, err
		}
	}
}

// appendTo decodes all.
func (ps pointers) appendTo(out []pointer) ([]pointer, error) {
	for r := (pointerReader{rest: ps}); ; {
		p, ok, err := r.next()
		if err != nil || !ok {
			return out, err
		}
		out = append(out, p)
	}
}

// cut takes the version's value out of its commit, and checks it.
func (p pointer) cut(key, encoded []byte) ([]byte, error) {
	if p.offset < 0 || p.length < 0 || p.offset > len(encoded) || p.length > len(encoded)-p.offset {
		return nil, damaged("version %s of %q points outside of its commit", p.revision, key)
	}
	value := encoded[p.offset : p.offset+p.length]
	if p.sum != boltfile.Checksum(key, value) {
		return nil, damaged("version %s of %q fails its checksum", p.revision, key)
	}
	return value, nil
}

// keyEntry is an entry of the bucket keys.
type keyEntry struct {
	blocks int // of older versions
	newest pointers
}

func sealKey(key []byte, blocks int, newest []pointer) []byte {
	return sealPointers(key, binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64), uint64(blocks)), newest)
}

func parseKey(key, sealed []byte) (keyEntry, error) {
	b, err := unseal(bucketKeys, key, sealed)
	if err != nil {
		return keyEntry{}, err
	}
	blocks, n := binary.Uvarint(b)
	if n <= 0 || n == len(b) {
		return keyEntry{}, damaged("key %q has no version", key)
	}
	return keyEntry{int(blocks), pointers(b[n:])}, nil
}

func versionKey(key []byte, r ledger.Revision) []byte {
	b := append(append(make([]byte, 0, len(key)+9), key...), 0)
	return binary.BigEndian.AppendUint64(b, ^uint64(r))
}

// splitVersion returns the key that the versions are of, and their oldest.
func splitVersion(b []byte) (key []byte, oldest ledger.Revision, ok bool) {
	if len(b) < 9 || b[len(b)-9] != 0 {
		return nil, 0, false
	}
	return b[:len(b)-9], ledger.Revision(^binary.BigEndian.Uint64(b[len(b)-8:])), true
}

// versionAt finds the value in force for a key at a revision that is not after the
// head; the value is empty if the key was deleted, and ok is false if it was never set.
func (s *snapshot) versionAt(key ledger.Key, r ledger.Revision) (version, bool, error) {
	if found, ok := s.tailVersion(key, r); ok {
		return found, true, nil
	}
	k := nameKey(s.tenant, key)
	p, ok, err := s.storedVersion(k, r)
	if err != nil || !ok {
		return version{}, false, err
	}
	value, err := s.valueOf(k, p)
	return version{revision: p.revision, value: value}, true, err
}

func (s *snapshot) tailVersion(key ledger.Key, r ledger.Revision) (found version, ok bool) {
	if s.live {
		s.store.mu.RLock()
		found, ok = s.active.at(s.tenant, key, r)
		s.store.mu.RUnlock()
	}
	if !ok && s.frozen != nil {
		found, ok = s.frozen.at(s.tenant, key, r)
	}
	return found, ok
}

// storedVersion finds the version in force at a revision in the file.
func (s *snapshot) storedVersion(key []byte, r ledger.Revision) (pointer, bool, error) {
	b := s.lookup(&s.keys, bucketKeys, key)
	if b == nil {
		return pointer{}, false, nil
	}
	e, err := parseKey(key, b)
	if err != nil {
		return pointer{}, false, err
	}
	return s.inForce(key, e, r)
}

func (s *snapshot) inForce(key []byte, e keyEntry, r ledger.Revision) (pointer, bool, error) {
	p, ok, err := e.newest.inForce(r)
	if ok || err != nil || e.blocks == 0 {
		return p, ok, err
	}
	older, err := s.block(key, r)
	if err != nil {
		return pointer{}, false, err
	}
	return older.inForce(r)
}

// block finds the block with the value in force at a revision; it is empty if the key
// had none.
func (s *snapshot) block(key []byte, r ledger.Revision) (pointers, error) {
	k, b := s.cursor(&s.versions, bucketVersions).Seek(versionKey(key, r))
	if of, _, ok := splitVersion(k); !ok || !bytes.Equal(of, key) {
		return nil, nil
	}
	return unseal(bucketVersions, k, b)
}

// valueOf reads a version's value; it is empty for a deletion.
func (s *snapshot) valueOf(key []byte, p pointer) (ledger.Value, error) {
	c, err := s.stored(p.revision)
	if err != nil {
		return "", err
	}
	value, err := p.cut(key, c.encoded)
	return ledger.Value(value), err
}

// spans finds each change's value in a commit's stored bytes, in order; there are
// about so many.
func spans(encoded []byte, n int) ([]span, error) {
	const changes, value = 10, 2 // field numbers of Commit.changes, Change.value
	out := make([]span, 0, n)
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
