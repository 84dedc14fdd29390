package verify_test

import (
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
)

// A ledger that has changed its key verifies with the first key, and with all of them.
func TestLedger_KeyWasHandedOver(t *testing.T) {
	f := newFolder(t, 6)
	epoch, err := ledger.ParseEpoch(f.key.Name()[len("stele/"):])
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		next, _, err := proof.GenerateKey(epoch)
		if err != nil {
			t.Fatal(err)
		}
		old := f.secret
		f.secret = old + "\n" + next
		f.run(t, 3)
		f.secret = next
		f.run(t, 3)
	}
	r := f.verify(t)
	if len(r.Findings) > 0 || r.Commits != 18 {
		t.Errorf("with the first key: %d commits, %v", r.Commits, r.Findings)
	}
}
