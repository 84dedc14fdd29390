package proof

import (
	"errors"
	"fmt"
	"sort"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/mod/sumdb/tlog"
)

// Inclusion proves that a commit is a leaf of a tree.
type Inclusion struct {
	Revision ledger.Revision
	// Leaf is the commit's id, and Index its place in the tree, from 0.
	Leaf  tlog.Hash
	Index int64
	Path  tlog.RecordProof
}

// Signed is a checkpoint, the signed note that states it, and the ledger's public keys
// as Verifier.Keys writes them.
type Signed struct {
	Checkpoint
	Note, Keys string
}

// Newest is the newest checkpoint that this process has verified, of size 0 while there
// is none. The channel is closed when there is a newer one.
func (t *Tree) Newest() (Signed, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.newest, t.changed
}

// Verified reports whether this process has compared the newest checkpoint of the ledger with its
// tree. If it is true, and Newest is called after it, a size of 0 means that the ledger had none.
func (t *Tree) Verified() bool { return t.agreed.Load() }

// show makes a checkpoint the newest.
func (t *Tree) show(c Signed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.newest = c
	close(t.changed)
	t.changed = make(chan struct{})
}

// Size is how many commits the tree has; ok is false until the tree exists.
func (t *Tree) Size() (size int64, ok bool) {
	err := t.read(func(s *store) error {
		state, err := s.state()
		size = state.size
		return err
	})
	return size, err == nil
}

// Covered is the newest of the tenant's commits in the tree of that size; 0 if the tree
// contains none.
func (t *Tree) Covered(tenant ledger.Tenant, size int64) (rev ledger.Revision, err error) {
	err = t.readTx(func(tx *bolt.Tx, _ *store) error {
		newest, ok, err := findSpan(tx, tenant, ^ledger.Revision(0))
		if err != nil || !ok {
			return err
		}
		after := sort.Search(int(newest.last()), func(i int) bool {
			leaf, _, e := findLeaf(tx, tenant, ledger.Revision(i+1))
			err = errors.Join(err, e)
			return leaf >= size
		})
		rev = ledger.Revision(after)
		return err
	})
	return rev, err
}

// Inclusion proves a commit in the tree of that size. The error wraps ErrNoSuchSize,
// ErrNotCovered, or ledger.ErrUnavailable.
func (t *Tree) Inclusion(tenant ledger.Tenant, size int64, rev ledger.Revision) (in Inclusion, err error) {
	err = t.readTx(func(tx *bolt.Tx, s *store) error {
		if err := reached(tx, size); err != nil {
			return err
		}
		leaf, ok, err := findLeaf(tx, tenant, rev)
		switch {
		case err != nil:
			return err
		case !ok || leaf >= size:
			return fmt.Errorf("%w: %s%s is not in the tree of size %d: take a newer checkpoint", ErrNotCovered, tenant, rev, size)
		}
		in = Inclusion{Revision: rev, Index: leaf}
		if in.Leaf, err = leafAt(hashes{tx}, leaf); err != nil {
			return err
		}
		in.Path, err = tlog.ProveRecord(size, leaf, hashes{tx})
		return err
	})
	return in, err
}

// Consistency proves that the tree of the old size is the beginning of the tree of the
// new size; 0 < old <= new.
func (t *Tree) Consistency(old, new int64) (p tlog.TreeProof, err error) {
	err = t.readTx(func(tx *bolt.Tx, _ *store) error {
		if err := reached(tx, new); err != nil {
			return err
		}
		p, err = tlog.ProveTree(new, old, hashes{tx})
		return err
	})
	return p, err
}

// reached checks that the tree was ever of that size.
func reached(tx *bolt.Tx, size int64) error {
	state, err := readState(tx)
	if err != nil {
		return err
	}
	if size > state.size {
		return fmt.Errorf("%w: here the tree has %d commits, not %d: is the checkpoint of this ledger?", ErrNoSuchSize, state.size, size)
	}
	return nil
}

// findLeaf is the place of a tenant's commit in the tree.
func findLeaf(tx *bolt.Tx, tenant ledger.Tenant, rev ledger.Revision) (leaf int64, ok bool, err error) {
	s, ok, err := findSpan(tx, tenant, rev)
	if err != nil || !ok || rev > s.last() {
		return 0, false, err
	}
	return s.leaf + int64(rev-s.first), true, nil
}

// read calls the function with the file. Damage has it rebuilt, and answers
// ledger.ErrUnavailable meanwhile.
func (t *Tree) read(f func(*store) error) error {
	s := t.store.Load()
	if s == nil {
		return errNotBuilt
	}
	err := f(s)
	switch {
	case errors.Is(err, boltfile.ErrDamaged):
		t.reportDamage(s, err)
		return errNotBuilt
	case errors.Is(err, berrors.ErrDatabaseNotOpen): // it is being rebuilt, or closed
		return errNotBuilt
	}
	return err
}

func (t *Tree) readTx(f func(*bolt.Tx, *store) error) error {
	return t.read(func(s *store) error {
		return s.view(func(tx *bolt.Tx) error { return f(tx, s) })
	})
}

// endsWith reports whether the tree ends with the record's commits.
func (s *store) endsWith(r record) (same bool, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		state, err := readState(tx)
		if err != nil {
			return err
		}
		next := state.size - int64(r.commits())
		same = next >= 0
		for _, run := range r.runs {
			for i := 0; same && i < len(run.leaves); i++ {
				leaf, err := leafAt(hashes{tx}, next)
				if err != nil {
					return err
				}
				same = leaf == run.leaves[i]
				next++
			}
		}
		return nil
	})
	return same, err
}

// rootAt is the root of the tree of that size, which it must have reached.
func (s *store) rootAt(size int64) (root tlog.Hash, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		root, err = tlog.TreeHash(size, hashes{tx})
		return err
	})
	return root, err
}
