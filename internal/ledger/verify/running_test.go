package verify_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/verify"
)

// startSigner makes a tree that follows and signs, and answers backups.
func startSigner(t *testing.T, n *ledgertest.Node) *proof.Tree {
	t.Helper()
	secret, _, err := proof.GenerateKey(n.Journal.Epoch())
	if err != nil {
		t.Fatal(err)
	}
	key, err := proof.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	checkpoints, err := n.Journal.OpenAuxStream(t.Context(), journal.Checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := proof.OpenTree(proof.Config{Path: filepath.Join(t.TempDir(), "tree.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	if err := errors.Join(tree.Follow(n.Journal), tree.Sign(checkpoints, key)); err != nil {
		t.Fatal(err)
	}
	s, err := verify.ServeTree(n.Conn, tree)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return tree
}

func commitMany(t *testing.T, n *ledgertest.Node, commits int, what string) {
	t.Helper()
	for i := range commits {
		_, err := n.Ledger.Commit(t.Context(), "acme", ledger.ChangeSet{Author: "ann", Changes: []ledger.Change{{Key: "tag/a", Value: ledger.Value(fmt.Sprintf(`"%s %d"`, what, i))}}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// signedUpTo waits until the newest checkpoint covers as many commits.
func signedUpTo(t *testing.T, tree *proof.Tree, size int64) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		c, newer := tree.Newest()
		if c.Size >= size {
			return
		}
		select {
		case <-newer:
		case <-time.After(time.Until(deadline)):
			t.Fatalf("the newest checkpoint covers %d of %d commits", c.Size, size)
		}
	}
}

// backUp backs up the ledger of a node, and returns what does not verify.
func backUp(t *testing.T, n *ledgertest.Node, dir string, seen *verify.Seen) (found []string) {
	t.Helper()
	_, err := journal.TakeBackup(t.Context(), n.Conn, dir, func(ctx context.Context, b *journal.BackupReader) error {
		report, err := verify.Backup(ctx, b, seen)
		if err != nil {
			return err
		}
		for _, f := range report.Findings {
			found = append(found, f.String())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A backup whose journal has lost or changed messages is a whole ledger by itself, with checkpoints
// that it extends. Only the process that has seen the messages knows.
func TestBackup_ComparedWithTheRunningLedger(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	tree := startSigner(t, n)
	commitMany(t, n, 5, "before")
	signedUpTo(t, tree, 5)
	early := filepath.Join(t.TempDir(), "early")
	if found := backUp(t, n, early, nil); len(found) > 0 {
		t.Fatal(found)
	}
	commitMany(t, n, 3, "after")
	seen, err := verify.AskTree(t.Context(), n.Conn)
	if err != nil || seen.Tree.Size != 8 || seen.Newest.Size < 5 {
		t.Fatalf("the running ledger has seen %+v, %v", seen, err)
	}
	if found := backUp(t, n, filepath.Join(t.TempDir(), "backup"), seen); len(found) > 0 {
		t.Errorf("a whole ledger: %q", found)
	}
	signedUpTo(t, tree, 8)
	signed, err := verify.AskTree(t.Context(), n.Conn)
	if err != nil || signed.Newest.Size != 8 {
		t.Fatalf("the running ledger has seen %+v, %v", signed, err)
	}
	for _, test := range []struct {
		name   string
		others int // commits instead of those that are lost
		seen   *verify.Seen
		want   []string
	}{
		{"lost", 0, &verify.Seen{Tree: seen.Tree}, []string{"the tree of the running ledger: it states 8 commits, and the journal has 5: the journal was cut"}},
		{"changed", 3, &verify.Seen{Tree: seen.Tree}, []string{"the tree of the running ledger: it says that the root of the first 8 commits is "}},
		{"changed, and longer", 4, &verify.Seen{Tree: seen.Tree}, []string{"the tree of the running ledger: it says that the root of the first 8 commits is "}},
		{"checkpoint", 0, signed, []string{
			"STELE-CHECKPOINTS: the newest checkpoint, of 8 commits, is missing",
			"the tree of the running ledger: it states 8 commits, ",
			"the newest checkpoint of the running ledger: it states 8 commits, ",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := ledgertest.Server(t)
			nc, err := s.Connect()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(nc.Close)
			if _, err := journal.Restore(t.Context(), nc, early, 1); err != nil {
				t.Fatal(err)
			}
			other := ledgertest.Start(t, s, ledgertest.Config{})
			commitMany(t, other, test.others, "instead")
			if _, err := verify.AskTree(t.Context(), other.Conn); !errors.Is(err, verify.ErrNoTree) {
				t.Errorf("a ledger without a tree answers: %v", err)
			}
			if found := backUp(t, other, filepath.Join(t.TempDir(), "unseen"), nil); len(found) > 0 {
				t.Errorf("by itself: %q", found)
			}
			found := backUp(t, other, filepath.Join(t.TempDir(), "backup"), test.seen)
			if len(found) != len(test.want) {
				t.Fatalf("found %q, want %q", found, test.want)
			}
			for i, want := range test.want {
				if !strings.HasPrefix(found[i], want) {
					t.Errorf("found %q, want %q", found[i], want)
				}
			}
		})
	}
}
