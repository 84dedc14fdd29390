package replica

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"runtime/debug"

	"github.com/stelehq/stele/ledger"
	bolt "go.etcd.io/bbolt"
)

// scrub reads the whole file once after it was opened, beside everything else:
// bbolt has no checksums of its own, and a key that a flipped bit has renamed is
// otherwise only seen as one that is not there.
func (r *Replica) scrub(ctx context.Context, s *store) error {
	if err := s.check(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// check proves that the file is what its commits say: every tenant's chain
// leads without a gap to its head, every change has its version, every version
// its commit, and every key's newest entry is its newest version.
func (s *store) check(ctx context.Context) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer catchDamage(&err)
	return s.db.View(func(tx *bolt.Tx) error {
		if err := checkPages(tx, true); err != nil {
			return err
		}
		err := tx.Bucket(bucketTenants).ForEach(func(k, b []byte) error {
			rec, err := parseTenantRecord(k, b)
			if err != nil {
				return err
			}
			return checkTenant(ctx, tx, ledger.Tenant(k), rec)
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

func checkTenant(ctx context.Context, tx *bolt.Tx, t ledger.Tenant, rec tenantRecord) error {
	var head ledger.Head
	var changes uint64
	prefix := tenantKey(t)
	c := tx.Bucket(bucketCommits).Cursor()
	ids := tx.Bucket(bucketIDs)
	var known []byte // the block of ids that the commit is in
	requests := tx.Bucket(bucketRequests)
	for k, b := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, b = c.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := unseal(bucketCommits, k, b); err != nil {
			return err
		}
		stored, err := splitCommit(k, b)
		if err != nil {
			return err
		}
		commit, err := ledger.DecodeCommit(stored.encoded)
		if err != nil {
			return damaged("%v", err)
		}
		if !bytes.Equal(k, commitKey(t, commit.Revision)) {
			return damaged("commit %s%s stands at %q", commit.Tenant, commit.Revision, k)
		}
		if err := commit.Follows(head); err != nil {
			return damaged("%v", err)
		}
		block, at := idBlock(commit.Revision)
		if key := idBlockKey(t, block); at == 0 {
			if known, err = unseal(bucketIDs, key, ids.Get(key)); err != nil {
				return err
			}
		}
		if at = at * idBytes; len(known) < at+idBytes || !bytes.Equal(known[at:at+idBytes], commit.ID[:idBytes]) {
			return damaged("the id of %s%s is not found", t, commit.Revision)
		}
		if id := commit.RequestID; id != "" && !bytes.Equal(requests.Get(newestKey(t, id)), revisionValue(commit.Revision)) {
			return damaged("the request id of %s%s is not found", t, commit.Revision)
		}
		head = commit.Head(stored.sequence)
		changes += uint64(len(commit.Changes))
	}
	if head != rec.head || changes != rec.changes {
		return damaged("the commits of %s lead to %s with %d changes, and its head is %s with %d",
			t, head.Revision, changes, rec.head.Revision, rec.changes)
	}
	return checkVersions(ctx, tx, t, changes)
}

// checkVersions walks a tenant's versions and newest entries side by side.
func checkVersions(ctx context.Context, tx *bolt.Tx, t ledger.Tenant, changes uint64) error {
	prefix := tenantKey(t)
	versions := tx.Bucket(bucketVersions).Cursor()
	newest := tx.Bucket(bucketNewest).Cursor()
	commits := tx.Bucket(bucketCommits)
	n, nb := newest.Seek(prefix)
	var key []byte
	var found uint64
	for k, b := versions.Seek(prefix); bytes.HasPrefix(k, prefix); k, b = versions.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		of, r, ok := splitVersion(k)
		if !ok {
			return damaged("version %q is no version", k)
		}
		stored := commits.Get(binary.BigEndian.AppendUint64(bytes.Clone(prefix), uint64(r)))
		if stored == nil {
			return damaged("version %q has no commit", k)
		}
		commit, err := splitCommit(k, stored)
		if err != nil {
			return err
		}
		value, err := cutVersion(k, b, commit.encoded)
		if err != nil {
			return err
		}
		found++
		if bytes.Equal(of, key) {
			continue
		}
		key = bytes.Clone(of)
		if !bytes.Equal(n, key) {
			return damaged("the newest entry after %q is %q", key, n)
		}
		e, err := parseNewest(n, nb)
		if err != nil {
			return err
		}
		if e.revision != r || !bytes.Equal(e.value, value) {
			return damaged("newest %q is not its newest version", n)
		}
		n, nb = newest.Next()
	}
	if bytes.HasPrefix(n, prefix) {
		return damaged("newest %q has no version", n)
	}
	if found != changes {
		return fmt.Errorf("%w: %s has %d versions and its commits %d changes", errDamaged, t, found, changes)
	}
	return nil
}
