package replica

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	bolt "go.etcd.io/bbolt"
)

// flush writes the applied commits into the file, in one transaction, and makes it
// durable. The position is taken with the tail that it belongs to, so a crash leaves
// the file at the previous flush: the journal is replayed from there.
func (s *store) flush() (err error) {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	defer kind.Catch(&err)()

	s.mu.Lock()
	if s.frozen == nil { // else the last flush failed: its tail is written first
		s.frozen, s.active = s.active, newTail()
		s.frozen.progress = s.progress
	}
	frozen := s.frozen
	records := make(map[ledger.Tenant]tenantRecord, len(frozen.tenants))
	for t, tt := range frozen.tenants {
		last := tt.commits[len(tt.commits)-1]
		rec := s.tenants[t].tenantRecord
		if rec.head.Revision != last.Revision {
			rec = s.recordAt(t, last)
		}
		records[t] = rec
	}
	s.mu.Unlock()

	err = s.readings.update(func(tx *bolt.Tx) error { return write(tx, frozen, records) })
	if err != nil {
		return fmt.Errorf("flush replica: %w", err)
	}
	s.mu.Lock()
	s.frozen = nil
	close(s.room)
	s.room = make(chan struct{})
	s.mu.Unlock()
	return nil
}

// pending reports whether something waits to be flushed.
func (s *store) pending() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.active.bytes > 0 || s.frozen != nil
}

// recordAt is the tenant's record when last was its head: the one in memory without the
// additions of the active tail.
func (s *store) recordAt(t ledger.Tenant, last tailCommit) tenantRecord {
	rec := s.tenants[t].tenantRecord
	for _, c := range s.active.tenants[t].commits {
		rec.versions -= uint64(len(c.Changes))
	}
	rec.head = last.Head(last.sequence)
	rec.marks = marksUpTo(rec.marks, last.Revision)
	return rec
}

// entry is a pair that waits to be put in key order, which is how bbolt is fast.
type entry struct{ key, value []byte }

func put(tx *bolt.Tx, bucket []byte, fill float64, entries []entry) error {
	slices.SortFunc(entries, func(a, b entry) int { return bytes.Compare(a.key, b.key) })
	b := tx.Bucket(bucket)
	b.FillPercent = fill
	for _, e := range entries {
		if err := b.Put(e.key, e.value); err != nil {
			return fmt.Errorf("put %s %q: %w", bucket, e.key, err)
		}
	}
	return nil
}

// Flushes are sorted and large, so pages are filled well beyond the half that
// bbolt leaves free by default: 93 MB became 69 MB for 117,044 real commits. One
// that only grows at its tenants' ends is packed.
const (
	packed = 1.0
	loose  = 0.9
)

func write(tx *bolt.Tx, t *tail, records map[ledger.Tenant]tenantRecord) error {
	var tenants, commits, keys, versions, ids, requests, runs []entry
	stored := tx.Bucket(bucketKeys)
	var all []pointer
	for _, tenant := range slices.Sorted(maps.Keys(t.tenants)) {
		tt, rec := t.tenants[tenant], records[tenant]
		key := []byte(tenant)
		tenants = append(tenants, entry{key, rec.bytes(key)})
		places := make([][]span, len(tt.commits))
		for i, c := range tt.commits {
			key := commitKey(tenant, c.Revision)
			size, err := ledger.SummarySize(c.Encoded)
			if err != nil {
				return fmt.Errorf("find the summary of commit %s%s: %w", tenant, c.Revision, err)
			}
			commits = append(commits, entry{key, storedCommit{c.Time.UnixNano(), c.sequence, c.ID, c.Encoded[:size], c.Encoded}.value(key)})
			if places[i], err = spans(c.Encoded, len(c.Changes)); err != nil || len(places[i]) != len(c.Changes) {
				return fmt.Errorf("find the values of commit %s%s: %w", tenant, c.Revision, err)
			}
		}
		blocks, err := idBlocks(tenant, tt.commits, tx.Bucket(bucketIDs).Get)
		if err != nil {
			return err
		}
		ids = append(ids, blocks...)
		more, err := runEntries(tenant, tt.commits, tx.Bucket(bucketRecords).Get)
		if err != nil {
			return err
		}
		runs = append(runs, more...)
		for name, r := range tt.requests {
			requests = append(requests, entry{nameKey(tenant, name), revisionValue(r)})
		}
		first := tt.commits[0].Revision
		tt.keys.Scan(func(k ledger.Key, vs []version) bool {
			key := nameKey(tenant, k)
			all = all[:0]
			for _, v := range slices.Backward(vs) {
				all = append(all, pointer{v.revision, places[v.revision-first][v.change], boltfile.Checksum(key, []byte(v.value))})
			}
			var newest entry
			var older []entry
			if newest, older, all, err = keyEntries(key, all, stored.Get(key)); err != nil {
				return false
			}
			keys, versions = append(keys, newest), append(versions, older...)
			return true
		})
		if err != nil {
			return err
		}
	}
	position := []entry{{metaPosition, positionValue(t.progress.position, t.progress.current)}}
	for _, b := range []struct {
		name    []byte
		fill    float64
		entries []entry
	}{
		{bucketCommits, packed, commits},
		{bucketKeys, loose, keys},
		{bucketVersions, loose, versions},
		{bucketIDs, packed, ids},
		{bucketRequests, loose, requests},
		{bucketRecords, packed, runs},
		{bucketTenants, loose, tenants},
		{bucketMeta, loose, position},
	} {
		if err := put(tx, b.name, b.fill, b.entries); err != nil {
			return err
		}
	}
	return nil
}

// keyEntries adds new versions, newest first, to the stored versions of a key, and
// returns the blocks of older ones that are full now. Versions that are stored already
// are not added again. It returns the slice that it was given, which may have grown.
func keyEntries(key []byte, added []pointer, sealed []byte) (newest entry, older []entry, all []pointer, err error) {
	var e keyEntry
	if all = added; sealed != nil {
		if e, err = parseKey(key, sealed); err != nil {
			return entry{}, nil, all, err
		}
		had, _, err := (&pointerReader{rest: e.newest}).next()
		if err != nil {
			return entry{}, nil, all, err
		}
		all = slices.DeleteFunc(all, func(p pointer) bool { return p.revision <= had.revision })
		if all, err = e.newest.appendTo(all); err != nil {
			return entry{}, nil, all, err
		}
	}
	left := all
	for len(left) > blockSize {
		block := left[len(left)-blockSize:]
		at := versionKey(key, block[blockSize-1].revision)
		older = append(older, entry{at, sealPointers(at, nil, block)})
		left = left[:len(left)-blockSize]
		e.blocks++
	}
	return entry{key, sealKey(key, e.blocks, left)}, older, all, nil
}
