package proof_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"
)

const page = 4096

var damages = flag.Int("damages", 60, "how many files to damage")

// Silent damage is either seen, and the file set aside and built again, or it
// changes no root and no proof.
func TestDamage_FileIsRebuiltAndNeverProvesWrong(t *testing.T) {
	w := newWorld(t)
	path := w.path(t)
	tree := w.sign(t, path)
	tenants := []ledger.Tenant{"acme", "a", "umbrella"}
	for i := range 200 {
		record := w.next(t, tenants[i%len(tenants)], 1+i%7)
		if i%2 == 0 {
			record = join(record, w.next(t, tenants[(i+1)%len(tenants)], 1+i%3))
		}
		w.append(t, record)
	}
	w.awaitTree(t, tree)
	w.awaitSigned(t, tree)
	shut(t, tree)
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "acme", 3) // so that every trial writes into its file
	w.write(t, "umbrella", 3)

	rebuilt := 0
	for i := range *damages {
		rng := rand.New(rand.NewPCG(7, uint64(i)))
		file := append([]byte(nil), sound...)
		switch at := rng.IntN(len(file)/page) * page; i % 5 {
		case 0:
			file[rng.IntN(len(file))] ^= 1 << rng.IntN(8)
		case 1:
			file[at+rng.IntN(96)] ^= 1 << rng.IntN(8)
		case 2:
			file = file[:at]
		case 3:
			clear(file[at : at+page])
		case 4:
			other := rng.IntN(len(file)/page) * page
			copy(file[at:at+page], file[other:other+page])
		}
		path := w.path(t)
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		tree := w.sign(t, path)
		eventually(t, fmt.Sprintf("after damage %d everything is proven", i), func() bool { return w.proves(t, tree) })
		w.awaitSigned(t, tree)
		if len(asides(t, path)) > 0 {
			rebuilt++
		}
		shut(t, tree)
	}
	t.Logf("%d of %d files were rebuilt", rebuilt, *damages)
	if rebuilt == 0 {
		t.Error("no damage was seen")
	}
}

// A damaged page of bbolt may hide a tenant's newest record, so that the next one seems
// not to follow. That is not a fault of the journal.
func TestDamage_IsNotBlamedOnTheJournal(t *testing.T) {
	w := newWorld(t)
	path := w.path(t)
	tree := w.sign(t, path)
	for range 5 {
		w.write(t, "acme", 2)
	}
	w.awaitSigned(t, tree)
	shut(t, tree)
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("records"))
		newest, _ := b.Cursor().Last()
		return b.Delete(newest)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	w.write(t, "acme", 1)
	tree = w.sign(t, path)
	w.awaitTree(t, tree)
	w.awaitSigned(t, tree)
	if len(asides(t, path)) != 1 {
		t.Error("the file was not set aside")
	}
}

// proves checks every commit's proof and the consistency with every smaller tree.
// It answers false when the tree has to be rebuilt meanwhile.
func (w *world) proves(t *testing.T, tree *proof.Tree) bool {
	t.Helper()
	w.awaitTree(t, tree)
	leaves := w.leaves()
	size := int64(len(leaves))
	root := mth(leaves)
	index := int64(0)
	for _, r := range w.written {
		for _, c := range r.commits {
			in, err := tree.Inclusion(c.Tenant, size, c.Revision)
			if err != nil {
				return false
			}
			if in.Index != index || in.Leaf != tlog.Hash(c.ID) || tlog.CheckRecord(in.Path, size, root, in.Index, in.Leaf) != nil {
				t.Fatalf("%s%s is not proven as leaf %d", c.Tenant, c.Revision, index)
			}
			index++
		}
	}
	for old := int64(1); old <= size; old += 7 {
		p, err := tree.Consistency(old, size)
		if err != nil {
			return false
		}
		if err := tlog.CheckTree(p, size, root, old, mth(leaves[:old])); err != nil {
			t.Fatalf("from %d to %d: %v", old, size, err)
		}
	}
	return true
}

// TestDamage_RebuildIsRetried damages a file while its folder cannot be written to: the tree is
// built when that is over.
func TestDamage_RebuildIsRetried(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "tree.db")
	log := &failures{}
	tree, err := proof.OpenTree(proof.Config{Path: path, Log: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, tree)
	if err := tree.Follow(w.journal); err != nil {
		t.Fatal(err)
	}
	w.write(t, "acme", 3)
	w.awaitTree(t, tree)
	away := dir + ".away"
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file in its place
		t.Fatal(err)
	}
	tree.Damage()
	eventually(t, "two tries fail", func() bool { return log.n.Load() >= 2 })
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	w.awaitTree(t, tree)
	if found := asides(t, path); len(found) != 1 {
		t.Errorf("files set aside: %v, want one", found)
	}
}

// failures counts the logged failures to rebuild a file.
type failures struct {
	slog.Handler
	n atomic.Int32
}

func (f *failures) Enabled(context.Context, slog.Level) bool { return true }

func (f *failures) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "cannot be rebuilt") {
		f.n.Add(1)
	}
	return nil
}
