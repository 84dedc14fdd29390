package journal_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stelehq/stele/internal/ledger/journal"
)

// TestCopyStopped_OmitsDeletedFiles: a server that was stopped may still be
// removing a stream that was deleted, from under the copy.
func TestCopyStopped_OmitsDeletedFiles(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	streams := filepath.Join("jetstream", "$G", "streams")
	for _, name := range []string{"stele.lock", filepath.Join(streams, "STELE", "meta.inf"), filepath.Join(streams, ".STELE-READS", "1.blk")} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(from, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(from, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := journal.CopyStopped(from, to); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(to, streams, "STELE", "meta.inf")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(to, streams, ".STELE-READS")); !os.IsNotExist(err) {
		t.Errorf("the deleted stream was copied: %v", err)
	}
}
