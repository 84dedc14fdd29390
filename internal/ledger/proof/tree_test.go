package proof_test

import (
	"fmt"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// In any sequence of writes, closes, restores and losses of the file: the tree's roots
// are those of the journal's commits, and its proofs are valid.
func TestTree_EqualsTheJournal(t *testing.T) {
	w := newWorld(t)
	path, backup := w.path(t), w.path(t)
	tree := w.follow(t, path)
	tenants := []ledger.Tenant{"acme", "a", "acme-2", "umbrella", "globex", "_system"}
	rapid.Check(t, func(rt *rapid.T) {
		for range rapid.IntRange(0, 12).Draw(rt, "records") {
			var record written
			for _, tenant := range rapid.SliceOfNDistinct(rapid.SampledFrom(tenants), 1, 4, rapid.ID).Draw(rt, "tenants") {
				record = join(record, w.next(t, tenant, rapid.SampledFrom([]int{1, 1, 1, 2, 7, 150}).Draw(rt, "commits")))
			}
			w.append(t, record)
		}
		switch rapid.SampledFrom([]string{"continues", "continues", "restarts", "is backed up", "is restored", "is lost"}).Draw(rt, "then the tree") {
		case "restarts":
			shut(t, tree)
			tree = w.follow(t, path)
		case "is backed up":
			shut(t, tree)
			backup = w.path(t)
			copyFile(t, path, backup)
			tree = w.follow(t, path)
		case "is restored":
			shut(t, tree)
			path, backup = backup, w.path(t)
			tree = w.follow(t, path)
		case "is lost":
			shut(t, tree)
			path = w.path(t)
			tree = w.follow(t, path)
		}
		if rapid.Bool().Draw(rt, "look") {
			w.awaitTree(t, tree)
			w.checkProofs(t, rt, tree)
		}
	})
	w.awaitTree(t, tree)
}

// checkProofs checks some proofs against tlog's verification.
func (w *world) checkProofs(t *testing.T, rt *rapid.T, tree *proof.Tree) {
	t.Helper()
	leaves := w.leaves()
	if len(leaves) == 0 {
		return
	}
	size := rapid.IntRange(1, len(leaves)).Draw(rt, "size")
	old := rapid.IntRange(1, size).Draw(rt, "old size")
	root, oldRoot := mth(leaves[:size]), mth(leaves[:old])
	p, err := tree.Consistency(int64(old), int64(size))
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckTree(p, int64(size), root, int64(old), oldRoot); err != nil {
		t.Fatalf("%d to %d: %v", old, size, err)
	}
	covered := make(map[ledger.Tenant]ledger.Revision)
	seen := 0
	for _, r := range w.written {
		for _, c := range r.commits {
			if seen++; seen <= size {
				covered[c.Tenant] = c.Revision
			}
		}
	}
	for tenant, head := range covered {
		if got, err := tree.Covered(tenant, int64(size)); err != nil || got != head {
			t.Fatalf("the tree of size %d covers %s%s, %v; want %s", size, tenant, got, err, head)
		}
		from := ledger.Revision(rapid.IntRange(1, int(head)).Draw(rt, "from"))
		to := min(from+5, head)
		for rev := from; rev <= to; rev++ {
			in, err := tree.Inclusion(tenant, int64(size), rev)
			if err != nil || in.Revision != rev || leaves[in.Index] != in.Leaf {
				t.Fatalf("leaf %d is %s%s, %s, %v; want %s", in.Index, tenant, in.Revision, in.Leaf, err, rev)
			}
			if err := tlog.CheckRecord(in.Path, int64(size), root, in.Index, in.Leaf); err != nil {
				t.Fatalf("%s%s: %v", tenant, rev, err)
			}
		}
	}
}

func TestTree_RecordsOfAnySize(t *testing.T) {
	w := newWorld(t)
	for i := range 40 {
		w.write(t, ledger.Tenant(fmt.Sprintf("t%d", i%3)), 1+i*i%97)
	}
	w.awaitTree(t, w.follow(t, w.path(t)))
}
