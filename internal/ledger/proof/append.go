package proof

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/follower"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"
)

// append makes the records' commits leaves, in order, and position, size and root
// durable with them.
func (s *store) append(records []record) error {
	return s.update(func(tx *bolt.Tx) error {
		g, err := grow(tx)
		if err != nil {
			return err
		}
		heads := make(map[ledger.Tenant]head)
		type entry struct{ key, value []byte }
		index := make([]entry, 0, len(records))
		for _, record := range records {
			for _, r := range record.runs {
				if err := follows(tx, heads, r); err != nil {
					return fmt.Errorf("message %d: %w", record.sequence, err)
				}
				index = append(index, entry{recordKey(r.tenant, r.first), span{r.first, g.size, int64(len(r.leaves))}.bytes()})
				for _, leaf := range r.leaves {
					if err := g.add(leaf); err != nil {
						return err
					}
				}
			}
			g.position = record.sequence
		}
		if err := g.write(tx); err != nil {
			return err
		}
		slices.SortFunc(index, func(a, b entry) int { return bytes.Compare(a.key, b.key) })
		b := tx.Bucket(bucketRecords)
		b.FillPercent = packed
		for _, e := range index {
			if err := put(b, e.key, e.value); err != nil {
				return err
			}
		}
		return nil
	})
}

// packed fills the pages of what only grows at its ends.
const packed = 1.0

// head is a tenant's newest commit in the tree.
type head struct {
	revision ledger.Revision
	id       tlog.Hash
}

// follows checks that a run continues its tenant's history.
func follows(tx *bolt.Tx, heads map[ledger.Tenant]head, r run) error {
	h, known := heads[r.tenant]
	if !known {
		newest, found, err := findSpan(tx, r.tenant, ^ledger.Revision(0))
		if err != nil {
			return err
		}
		if found {
			id, err := leafAt(hashes{tx}, newest.leaf+newest.count-1)
			if err != nil {
				return err
			}
			h = head{newest.last(), id}
		}
	}
	if r.first != h.revision+1 || tlog.Hash(r.parent) != h.id {
		return fmt.Errorf("%w: it holds %s%s, which does not continue %s%s", follower.ErrContradiction, r.tenant, r.first, r.tenant, h.revision)
	}
	heads[r.tenant] = head{r.first + ledger.Revision(len(r.leaves)) - 1, r.leaves[len(r.leaves)-1]}
	return nil
}

func leafAt(r tlog.HashReader, leaf int64) (tlog.Hash, error) {
	h, err := r.ReadHashes([]int64{tlog.StoredHashIndex(0, leaf)})
	if err != nil {
		return tlog.Hash{}, err
	}
	return h[0], nil
}

// growth is the tree while leaves are added to it.
type growth struct {
	hashes
	treeState
	was treeState
	// tail are the stored hashes from index base on, which is where a block
	// begins.
	tail []tlog.Hash
	base int64
}

func grow(tx *bolt.Tx) (*growth, error) {
	state, err := readState(tx)
	if err != nil {
		return nil, err
	}
	g := &growth{hashes: hashes{tx}, treeState: state, was: state}
	stored := tlog.StoredHashCount(state.size)
	g.base = stored / blockHashes * blockHashes
	begun := make([]int64, stored-g.base)
	for i := range begun {
		begun[i] = g.base + int64(i)
	}
	g.tail, err = g.hashes.ReadHashes(begun)
	return g, err
}

func (g *growth) add(leaf tlog.Hash) error {
	stored, err := tlog.StoredHashesForRecordHash(g.size, leaf, g)
	if err != nil {
		return err
	}
	g.tail = append(g.tail, stored...)
	g.size++
	return nil
}

// ReadHashes also reads hashes that are not in the file yet.
func (g *growth) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= g.base {
			out[i] = g.tail[index-g.base]
			continue
		}
		old, err := g.hashes.ReadHashes(indexes[i : i+1])
		if err != nil {
			return nil, err
		}
		out[i] = old[0]
	}
	return out, nil
}

// write moves the appended hashes into the file. The old tree must be the beginning of
// the new one: a tree that has lost a hash must not be signed.
func (g *growth) write(tx *bolt.Tx) error {
	var err error
	if g.root, err = tlog.TreeHash(g.size, g); err != nil {
		return err
	}
	if g.was.size > 0 {
		p, err := tlog.ProveTree(g.size, g.was.size, g)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(p, g.size, g.root, g.was.size, g.was.root); err != nil {
			return damaged("the tree of %d commits does not extend itself at %d: %v", g.size, g.was.size, err)
		}
	}
	b := tx.Bucket(bucketHashes)
	b.FillPercent = packed
	block := g.base / blockHashes
	for part := range slices.Chunk(g.tail, blockHashes) {
		body := make([]byte, 0, len(part)*tlog.HashSize)
		for _, h := range part {
			body = append(body, h[:]...)
		}
		if err := put(b, blockKey(block), body); err != nil {
			return err
		}
		block++
	}
	return writeState(tx, g.treeState)
}
