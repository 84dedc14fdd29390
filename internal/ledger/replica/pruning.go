package replica

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	bolt "go.etcd.io/bbolt"
)

// pruning drops some history of one tenant.
type pruning struct {
	commits, keys, versions, ids, requests, runs, bases *bolt.Bucket
	tenant                                              ledger.Tenant
	rec                                                 tenantRecord
	budget                                              int // of changes

	// live is how many versions that stay point into each commit that is now before
	// kept, and lost how many no longer point into one that was before it already.
	live, lost map[ledger.Revision]uint64
	gone       uint64          // versions
	blocks     map[uint64]bool // of ids that have lost a commit
}

func newPruning(tx *bolt.Tx, t ledger.Tenant, rec tenantRecord, budget int) *pruning {
	return &pruning{
		tenant: t, rec: rec, budget: budget,
		commits: tx.Bucket(bucketCommits), keys: tx.Bucket(bucketKeys), versions: tx.Bucket(bucketVersions), ids: tx.Bucket(bucketIDs),
		requests: tx.Bucket(bucketRequests), runs: tx.Bucket(bucketRecords), bases: tx.Bucket(bucketBases),
		live: make(map[ledger.Revision]uint64), lost: make(map[ledger.Revision]uint64), blocks: make(map[uint64]bool),
	}
}

// run moves kept forward, at most to keep, by one commit at least.
func (p *pruning) run(keep ledger.Revision) error {
	var all []*ledger.Commit // without their changes
	changed := make(map[ledger.Key]bool)
	sequences := make(map[ledger.Sequence]bool)
	to := p.rec.kept
	for ; to < keep && p.budget > 0; to++ {
		c, seq, err := p.commit(to)
		if err != nil {
			return err
		}
		for _, ch := range c.Changes {
			changed[ch.Key] = true
		}
		p.budget -= 1 + len(c.Changes)
		sequences[seq] = true
		all = append(all, &ledger.Commit{Revision: c.Revision, Author: c.Author, ByOperator: c.ByOperator, Origin: c.Origin, RequestID: c.RequestID})
	}
	for _, key := range slices.Sorted(maps.Keys(changed)) {
		if err := p.trim(nameKey(p.tenant, key), to); err != nil {
			return err
		}
	}
	for _, c := range all {
		if err := p.settle(c, p.live[c.Revision]); err != nil {
			return err
		}
	}
	for _, r := range slices.Sorted(maps.Keys(p.lost)) {
		if err := p.loosen(r, p.lost[r]); err != nil {
			return err
		}
	}
	for _, seq := range slices.Sorted(maps.Keys(sequences)) {
		if err := p.shorten(seq, to); err != nil {
			return err
		}
	}
	for block := range p.blocks {
		if err := p.dropIDs(block); err != nil {
			return err
		}
	}
	p.rec.kept, p.rec.versions = to, p.rec.versions-p.gone
	return nil
}

func (p *pruning) commit(r ledger.Revision) (*ledger.Commit, ledger.Sequence, error) {
	key := commitKey(p.tenant, r)
	stored, err := checkedCommit(p.tenant, r, key, p.commits.Get(key))
	if err != nil {
		return nil, 0, err
	}
	c, err := ledger.DecodeCommit(stored.encoded)
	if err != nil {
		return nil, 0, damaged("%v", err)
	}
	return c, stored.sequence, nil
}

// trim drops a key's versions before to, except the one that was in force just before
// it, unless the key was not set then.
func (p *pruning) trim(key []byte, to ledger.Revision) error {
	sealed := p.keys.Get(key)
	if sealed == nil {
		return damaged("key %q, which a commit has changed, is missing", key)
	}
	e, err := parseKey(key, sealed)
	if err != nil {
		return err
	}
	newest, err := e.newest.appendTo(nil)
	if err != nil {
		return err
	}
	stay, found := p.split(newest, to)
	type block struct{ at, sealed []byte }
	var blocks []block // from the one that holds the version on
	if e.blocks > 0 {
		from := to - 1
		if found {
			from = math.MaxInt64 // all of them are older
		}
		c := p.versions.Cursor()
		for k, b := c.Seek(versionKey(key, from)); k != nil; k, b = c.Next() {
			if of, _, ok := splitVersion(k); !ok || !bytes.Equal(of, key) {
				break
			}
			blocks = append(blocks, block{k, b})
		}
	}
	for _, b := range blocks {
		sealed, err := unseal(bucketVersions, b.at, b.sealed)
		if err != nil {
			return err
		}
		list, err := pointers(sealed).appendTo(nil)
		if err != nil {
			return err
		}
		var rest []pointer
		if found {
			p.forget(list)
		} else {
			rest, found = p.split(list, to)
		}
		if err := p.versions.Delete(b.at); err != nil {
			return err
		}
		if len(rest) == 0 {
			e.blocks--
			continue
		}
		at := versionKey(key, rest[len(rest)-1].revision) // it is named by its oldest
		if err := p.versions.Put(at, sealPointers(at, nil, rest)); err != nil {
			return err
		}
	}
	if len(stay) == 0 {
		return p.keys.Delete(key)
	}
	return p.keys.Put(key, sealKey(key, e.blocks, stay))
}

// split returns the versions to keep, newest first, and whether the one that was in
// force just before to is among them.
func (p *pruning) split(list []pointer, to ledger.Revision) (stay []pointer, found bool) {
	i := slices.IndexFunc(list, func(v pointer) bool { return v.revision < to })
	if i < 0 {
		return list, false
	}
	if base := list[i]; base.length > 0 {
		if base.revision >= p.rec.kept {
			p.live[base.revision]++
		}
		i++
	}
	p.forget(list[i:])
	return list[:i], true
}

// forget counts versions that are dropped.
func (p *pruning) forget(list []pointer) {
	p.gone += uint64(len(list))
	for _, v := range list {
		if v.revision < p.rec.kept {
			p.lost[v.revision]++
		}
	}
}

// settle drops a commit that no version points into, or notes how many do.
func (p *pruning) settle(c *ledger.Commit, live uint64) error {
	at := commitKey(p.tenant, c.Revision)
	if live > 0 {
		return p.bases.Put(at, baseValue(at, live))
	}
	block, _ := idBlock(c.Revision)
	p.blocks[block] = true
	if name := c.RequestName(); name != "" {
		if err := p.requests.Delete(nameKey(p.tenant, name)); err != nil {
			return err
		}
	}
	return p.commits.Delete(at)
}

// loosen takes versions off a commit that stayed for them.
func (p *pruning) loosen(r ledger.Revision, lost uint64) error {
	at := commitKey(p.tenant, r)
	n, err := parseBase(at, p.bases.Get(at))
	if err != nil {
		return err
	}
	if n < lost {
		return damaged("%d versions point into %s%s, and %d were dropped", n, p.tenant, r, lost)
	}
	if n > lost {
		return p.bases.Put(at, baseValue(at, n-lost))
	}
	c, _, err := p.commit(r)
	if err != nil {
		return err
	}
	if err := p.bases.Delete(at); err != nil {
		return err
	}
	return p.settle(c, 0)
}

// shorten takes the commits before to out of a run.
func (p *pruning) shorten(seq ledger.Sequence, to ledger.Revision) error {
	key := runKey(seq, p.tenant)
	sealed := p.runs.Get(key)
	if sealed == nil {
		return damaged("record %x is missing", key)
	}
	_, _, r, err := parseRun(key, sealed)
	if err != nil {
		return err
	}
	end := r.first + ledger.Revision(r.count)
	if end <= to {
		return p.runs.Delete(key)
	}
	return p.runs.Put(key, run{to, uint64(end - to)}.value(key))
}

// dropIDs drops a block of ids when all commits in it are dropped.
func (p *pruning) dropIDs(block uint64) error {
	prefix := tenantKey(p.tenant)
	k, _ := p.commits.Cursor().Seek(commitKey(p.tenant, ledger.Revision(block*idsBlock+1)))
	if bytes.HasPrefix(k, prefix) {
		if next, _ := idBlock(ledger.Revision(binary.BigEndian.Uint64(k[len(prefix):]))); next == block {
			return nil
		}
	}
	return p.ids.Delete(idBlockKey(p.tenant, block))
}

func baseValue(key []byte, n uint64) []byte {
	return boltfile.Seal(key, binary.AppendUvarint(nil, n))
}

func parseBase(key, sealed []byte) (uint64, error) {
	b, err := unseal(bucketBases, key, sealed)
	if err != nil {
		return 0, err
	}
	n, size := binary.Uvarint(b)
	if size != len(b) || n == 0 {
		return 0, damaged("base %q is cut", key)
	}
	return n, nil
}
