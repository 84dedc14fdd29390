package console_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/proof"
)

// TestReceipt: the downloads of a commit prove it to a holder of the public key.
func TestReceipt(t *testing.T) {
	var tree *proof.Tree
	f := start(t, func(_ *fixture, c *gateway.Config) {
		var err error
		if tree, err = proof.OpenTree(proof.Config{Path: filepath.Join(t.TempDir(), "tree.db")}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tree.Close() })
		c.Tree = tree
	})
	setup(t, f)
	v := f.writer(t, "acme")
	if a := v.get(t, "/acme/commits/2"); a.code != http.StatusOK || strings.Contains(a.main(), "Receipt") {
		t.Errorf("before anything is signed: %d %s", a.code, brief(a.main()))
	}
	private, public, err := proof.GenerateKey(f.node.Journal.Epoch())
	if err != nil {
		t.Fatal(err)
	}
	key, err := proof.ParseKey(private)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := proof.ParseVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	side, err := f.node.Journal.OpenAuxStream(t.Context(), journal.Checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Follow(f.node.Journal); err != nil {
		t.Fatal(err)
	}
	if err := tree.Sign(side, key); err != nil {
		t.Fatal(err)
	}
	a := v.get(t, "/acme/commits/2/receipt") // it waits for the signature
	if a.code != http.StatusOK {
		t.Fatalf("%d %s", a.code, brief(a.text()))
	}
	r, err := proof.ParseReceipt(a.body)
	if err != nil {
		t.Fatal(err)
	}
	if c, _, err := r.Verify(verifier); err != nil || c.Revision != 2 || c.Tenant != "acme" {
		t.Errorf("%v, %v", c, err)
	}
	if a := v.get(t, "/acme/commits/2"); !strings.Contains(a.main(), "signed") || !strings.Contains(a.main(), "Receipt") {
		t.Errorf("the page: %s", brief(a.main()))
	}
}
