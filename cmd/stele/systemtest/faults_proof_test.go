//go:build faults

package systemtest

import (
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/mod/sumdb/tlog"
)

// distruster trusts a ledger's public key and nothing else. It remembers the newest
// checkpoint.
type distruster struct {
	public string // file of the key
	key    *proof.Verifier
	seen   proof.Checkpoint // of size 0 before the first
	// extended counts the checkpoints that extend one from before a crash.
	extended int
}

// visit asks for a checkpoint that covers the tenant's newest commit: it must
// extend the one of the last visit and hold the commit that was acknowledged.
func (a *distruster) visit(t *testing.T, g *gateway, tenant ledger.Tenant, head uint64, id ledger.CommitID) {
	t.Helper()
	a.trust(t)
	client, ctx := stelev1.NewProofClient(g.conn), acting(t, tenant)
	signed := untilUp(t, ctx, client.GetCheckpoint, &stelev1.GetCheckpointRequest{CoversRevision: head})
	c, err := proof.Open(signed.Checkpoint, *a.key)
	if err != nil {
		t.Fatal(err)
	}
	if old := a.seen; old.Size > 0 {
		p := untilUp(t, ctx, client.ProveConsistency, &stelev1.ProveConsistencyRequest{OldSize: uint64(old.Size), NewSize: uint64(c.Size)})
		if err := tlog.CheckTree(pathOf(p.Hashes), c.Size, c.Root, old.Size, old.Root); err != nil {
			t.Fatalf("the checkpoint with %d commits does not extend that with %d: %v", c.Size, old.Size, err)
		}
		a.extended++
	}
	a.seen = c
	p := untilUp(t, ctx, client.ProveInclusion, &stelev1.ProveInclusionRequest{TreeSize: uint64(c.Size), FromRevision: head, ToRevision: head}).Proofs[0]
	if err := tlog.CheckRecord(pathOf(p.Hashes), c.Size, c.Root, int64(p.Index), tlog.Hash(id)); err != nil {
		t.Fatalf("%s@%d, acknowledged as %s: %v", tenant, head, id, err)
	}
}

// trust reads the key, which is made when the ledger is.
func (a *distruster) trust(t *testing.T) {
	t.Helper()
	if a.key != nil {
		return
	}
	public, err := os.ReadFile(a.public)
	if err != nil {
		t.Fatal(err)
	}
	key, err := proof.ParseVerifier(strings.TrimSpace(string(public)))
	if err != nil {
		t.Fatal(err)
	}
	a.key = &key
}

// readAll reads every checkpoint of a ledger with one tenant and compares it with
// the commits that were acknowledged: they stand in one line. It returns how many
// there are.
func (a *distruster) readAll(t *testing.T, nodes *cluster, tenant ledger.Tenant, acks map[uint64]link) (n int) {
	t.Helper()
	a.trust(t)
	nc, err := nats.Connect(nodes.clients())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "STELE-CHECKPOINTS")
	if err != nil {
		t.Fatal(err)
	}
	var before proof.Checkpoint
	var leaves storedHashes
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		c, err := proof.Open(string(m.Data), *a.key)
		if err != nil {
			t.Fatal(err)
		}
		if c.Size <= before.Size || c.Size > int64(len(acks)) {
			t.Fatalf("after the checkpoint with %d commits comes one with %d, and %d were acknowledged", before.Size, c.Size, len(acks))
		}
		for size := before.Size; size < c.Size; size++ {
			more, err := tlog.StoredHashesForRecordHash(size, tlog.Hash(acks[uint64(size)+1].id), leaves)
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, more...)
		}
		if root, err := tlog.TreeHash(c.Size, leaves); err != nil || root != c.Root {
			t.Fatalf("the checkpoint with %d commits of %s has the root %s, and they have %s, %v", c.Size, tenant, c.Root, root, err)
		}
		before = c
		n++
	}
	if before.Size != int64(len(acks)) {
		t.Fatalf("the newest checkpoint has %d of %d commits", before.Size, len(acks))
	}
	return n
}

// storedHashes are those of one tree.
type storedHashes []tlog.Hash

func (s storedHashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		out[i] = s[index]
	}
	return out, nil
}

func pathOf(hashes [][]byte) []tlog.Hash {
	out := make([]tlog.Hash, len(hashes))
	for i := range hashes {
		out[i] = tlog.Hash(hashes[i])
	}
	return out
}
