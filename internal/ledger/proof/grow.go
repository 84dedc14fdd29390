package proof

import (
	"crypto/sha256"

	"golang.org/x/mod/sumdb/tlog"
)

// Roots grows a tree leaf by leaf, and keeps no more of it than its next root
// needs: a hash for each bit of its size.
type Roots struct {
	size  int64
	stack []tlog.Hash
}

// Size is the number of leaves.
func (r *Roots) Size() int64 { return r.size }

// Add adds a leaf, and appends to stored what tlog stores with it, in its order.
func (r *Roots) Add(leaf tlog.Hash, stored []tlog.Hash) []tlog.Hash {
	stored = append(stored, leaf)
	for n := r.size; n&1 == 1; n >>= 1 {
		last := len(r.stack) - 1
		leaf = nodeHash(r.stack[last], leaf)
		r.stack = r.stack[:last]
		stored = append(stored, leaf)
	}
	r.stack = append(r.stack, leaf)
	r.size++
	return stored
}

// Root is the root of the tree as it is.
func (r *Roots) Root() tlog.Hash {
	last := len(r.stack) - 1
	if last < 0 {
		return sha256.Sum256(nil)
	}
	root := r.stack[last]
	for i := last - 1; i >= 0; i-- {
		root = nodeHash(r.stack[i], root)
	}
	return root
}

// nodeHash is tlog.NodeHash without its allocation.
func nodeHash(left, right tlog.Hash) tlog.Hash {
	var b [1 + 2*tlog.HashSize]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+tlog.HashSize:], right[:])
	return sha256.Sum256(b[:])
}
