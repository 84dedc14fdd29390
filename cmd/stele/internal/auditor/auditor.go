// Package auditor verifies a tenant's history on the client's side: a gateway serves
// checkpoints, commits and proofs, and nothing is trusted without its proof.
package auditor

import (
	"context"
	"fmt"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/mod/sumdb/tlog"
)

// Auditor asks one gateway about one tenant.
type Auditor struct {
	Proof  stelev1.ProofClient
	Config stelev1.ConfigClient
	// Key of the ledger. Nil: the gateway's own word is taken for it.
	Key *proof.Verifier
	// Witnesses that must have cosigned checkpoints.
	Witnesses proof.Witnesses
	// Seen is the folder of the newest checkpoints that were verified; see seen.go.
	Seen string
}

// Checkpoint is one that was verified.
type Checkpoint struct {
	proof.Checkpoint
	// Signed is its text.
	Signed string
	Key    proof.Verifier
	// Trusted is set if the key did not come with the checkpoint.
	Trusted bool
	// Covered is the tenant's newest commit that it covers, as the gateway says.
	Covered ledger.Revision
}

// Checkpoint waits for one that covers the revision; 0 takes the newest.
func (a *Auditor) Checkpoint(ctx context.Context, covers ledger.Revision) (Checkpoint, error) {
	resp, err := a.Proof.GetCheckpoint(ctx, &stelev1.GetCheckpointRequest{CoversRevision: uint64(covers), Cosignatures: uint32(a.Witnesses.Quorum)})
	if err != nil {
		return Checkpoint{}, err
	}
	c := Checkpoint{Signed: resp.Checkpoint, Trusted: a.Key != nil, Covered: ledger.Revision(resp.CoveredRevision)}
	if c.Trusted {
		c.Key = *a.Key
		if c.Key, err = c.Key.Extend(resp.Key); err != nil { // the key may have a successor
			return c, invalid(fmt.Errorf("the gateway's key: %w", err))
		}
	} else if c.Key, err = proof.ParseVerifier(resp.Key); err != nil {
		return c, invalid(fmt.Errorf("the gateway's key: %w", err))
	}
	c.Key = c.Key.Require(a.Witnesses)
	if c.Checkpoint, err = proof.Open(c.Signed, c.Key); err != nil {
		return c, err
	}
	if c.Covered < covers {
		return c, invalid(fmt.Errorf("the gateway's checkpoint covers %s, and %s was asked for", c.Covered, covers))
	}
	return c, a.compareSeen(ctx, c)
}

// invalid is a verification failure of the gateway's answer.
func invalid(err error) error { return &proof.InvalidError{What: "the gateway's answer", Err: err} }

// page is how many proofs are asked for at a time.
const page = 1000

// Proofs calls f for the tenant's commits from one revision to another, in order,
// as the gateway proves them; f verifies them.
func (a *Auditor) Proofs(ctx context.Context, c Checkpoint, from, to ledger.Revision, f func(proof.Proven) error) error {
	for from <= to {
		resp, err := a.Proof.ProveInclusion(ctx, &stelev1.ProveInclusionRequest{
			TreeSize: uint64(c.Size), FromRevision: uint64(from), ToRevision: uint64(min(to, from+page-1)),
		})
		if err != nil {
			return err
		}
		if len(resp.Proofs) == 0 || len(resp.Proofs) > int(to-from)+1 {
			return invalid(fmt.Errorf("%d proofs came for the commits from %s to %s", len(resp.Proofs), from, to))
		}
		for _, p := range resp.Proofs {
			path, err := hashes(p.Hashes)
			if err == nil {
				err = f(proof.Proven{Commit: p.Commit, Index: int64(p.Index), Path: path})
			}
			if err != nil {
				return invalid(fmt.Errorf("%s: %w", from, err))
			}
			from++
		}
	}
	return nil
}

// Extends proves that the checkpoint's tree begins with the old one's.
func (a *Auditor) Extends(ctx context.Context, old proof.Checkpoint, c Checkpoint) error {
	switch {
	case old.Epoch != c.Epoch:
		return fmt.Errorf("the checkpoint to start from is %w: it is of %s, and this ledger is %s", proof.ErrOtherLedger, proof.KeyName(old.Epoch), proof.KeyName(c.Epoch))
	case old.Size > c.Size:
		return invalid(fmt.Errorf("the tree has %d commits, and had %d at the checkpoint to start from: the ledger has lost some", c.Size, old.Size))
	case old.Size == 0:
		return nil
	}
	resp, err := a.Proof.ProveConsistency(ctx, &stelev1.ProveConsistencyRequest{OldSize: uint64(old.Size), NewSize: uint64(c.Size)})
	if err != nil {
		return err
	}
	path, err := hashes(resp.Hashes)
	if err == nil && tlog.CheckTree(tlog.TreeProof(path), c.Size, c.Root, old.Size, old.Root) != nil {
		err = fmt.Errorf("today's tree of %d commits does not extend the one of %d at the checkpoint to start from: history was rewritten", c.Size, old.Size)
	}
	if err != nil {
		return invalid(err)
	}
	return nil
}

func hashes(list [][]byte) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(list))
	for i, h := range list {
		if len(h) != tlog.HashSize {
			return nil, fmt.Errorf("a hash has %d bytes", len(h))
		}
		out[i] = tlog.Hash(h)
	}
	return out, nil
}
