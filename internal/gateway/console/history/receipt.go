package history

import (
	"fmt"

	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/mod/sumdb/tlog"
)

// receipt proves the commit to a holder of the ledger's public key.
func receipt(v *page.View, revision uint64) error {
	signed, err := v.Proof.GetCheckpoint(v.Ctx, &stelev1.GetCheckpointRequest{CoversRevision: revision})
	if err != nil {
		return err
	}
	key, err := proof.ParseVerifier(signed.Key)
	if err != nil {
		return fmt.Errorf("read the ledger's public key: %w", err)
	}
	at, err := proof.Open(signed.Checkpoint, key)
	if err != nil {
		return fmt.Errorf("open a checkpoint: %w", err)
	}
	resp, err := v.Proof.ProveInclusion(v.Ctx, &stelev1.ProveInclusionRequest{TreeSize: uint64(at.Size), FromRevision: revision, ToRevision: revision})
	if err != nil {
		return err
	}
	if len(resp.Proofs) != 1 {
		return fmt.Errorf("%d proofs came for %s@%d", len(resp.Proofs), v.Tenant, revision)
	}
	p := proof.Proven{Commit: resp.Proofs[0].Commit, Index: int64(resp.Proofs[0].Index)}
	for _, h := range resp.Proofs[0].Hashes {
		if len(h) != tlog.HashSize {
			return fmt.Errorf("a proof of %s@%d has a hash of %d bytes", v.Tenant, revision, len(h))
		}
		p.Path = append(p.Path, tlog.Hash(h))
	}
	r := proof.Receipt{Proven: p, Signed: signed.Checkpoint}
	if _, _, err := r.Verify(key); err != nil {
		return fmt.Errorf("verify the receipt of %s@%d: %w", v.Tenant, revision, err)
	}
	return v.Download(fmt.Sprintf("%s-%d.receipt", v.Tenant, revision), "text/plain; charset=utf-8", r.Text())
}
