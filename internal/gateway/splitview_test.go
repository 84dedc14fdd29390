package gateway_test

import (
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A client that was shown another history by another gateway with the ledger's key sends it
// to this one, which reports it, and refuses to prove anything to that client.
func TestGetCheckpoint_SplitView(t *testing.T) {
	p := startProving(t)
	ctx := p.as(t, "acme", identity.Writer)
	for range 3 {
		p.commit(t, ctx, set("a", "1", "b", "2"))
	}
	p.commit(t, ctx, set("a", "2"))
	c, resp := p.checkpoint(t, ctx, 2)
	signer, err := note.NewSigner(p.secret)
	if err != nil {
		t.Fatal(err)
	}
	forged := func(size int64, root tlog.Hash) string {
		signed, err := proof.Checkpoint{Epoch: c.Epoch, Size: size, Root: root}.Sign(signer)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	other := c.Root
	other[0] ^= 1
	for _, tc := range []struct {
		name   string
		seen   string
		code   codes.Code
		reason string
		views  int
	}{
		{"the gateway's own", resp.Checkpoint, codes.OK, "", 0},
		{"one of a larger tree", forged(1000, other), codes.OK, "", 0},
		{"of the same size", forged(c.Size, other), codes.FailedPrecondition, "SPLIT_VIEW", 1},
		{"of a smaller size", forged(1, other), codes.FailedPrecondition, "SPLIT_VIEW", 2},
		{"the same again", forged(1, other), codes.FailedPrecondition, "SPLIT_VIEW", 2},
		{"no checkpoint", "x", codes.InvalidArgument, "CHECKPOINT_INVALID", 2},
		{"of another key", resp.Checkpoint[:len(resp.Checkpoint)-12] + "AAAAAAAAAA=\n", codes.InvalidArgument, "CHECKPOINT_INVALID", 2},
	} {
		_, err := p.proof.GetCheckpoint(ctx, &stelev1.GetCheckpointRequest{Seen: tc.seen})
		if status.Code(err) != tc.code || tc.code != codes.OK && reason(err) != tc.reason {
			t.Errorf("%s: %v, want %s %s", tc.name, err, tc.code, tc.reason)
		}
		if got := p.tree.SplitViews(); got != tc.views {
			t.Errorf("%s: %d split views are counted, want %d", tc.name, got, tc.views)
		}
	}
	_, err = p.proof.GetCheckpoint(ctx, &stelev1.GetCheckpointRequest{Cosignatures: 1})
	if status.Code(err) != codes.FailedPrecondition || reason(err) != "NO_WITNESSES" {
		t.Errorf("cosignatures of a gateway without witnesses: %v", err)
	}
}
