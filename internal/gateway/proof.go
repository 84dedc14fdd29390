package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/mod/sumdb/tlog"
)

// proofService hands out proofs. Hashes come from the tree and commits from the
// replica, two independent copies of the journal.
type proofService struct {
	stelev1.UnimplementedProofServer
	g *Gateway
}

// checkpointTimeout bounds how long a call waits for the next checkpoint.
const checkpointTimeout = 5 * time.Second

// maxProofs is how many commits a call may ask for.
const maxProofs = 1000

// tree is the process's.
func (s proofService) tree() (*proof.Tree, error) {
	if s.g.cfg.Tree == nil {
		return nil, apierror.ErrNoTree
	}
	return s.g.cfg.Tree, nil
}

// GetCheckpoint returns the newest checkpoint, or waits for one that covers a
// revision.
func (s proofService) GetCheckpoint(ctx context.Context, req *stelev1.GetCheckpointRequest) (*stelev1.GetCheckpointResponse, error) {
	tree, err := s.tree()
	if err != nil {
		return nil, err
	}
	tenant, covers := policy.CallerOf(ctx).Tenant, ledger.Revision(req.CoversRevision)
	if covers > 0 { // do not wait for a missing commit
		v, err := s.g.views.Open(ctx, replica.At{Revision: covers}, view.Seen{})
		if err != nil {
			return nil, err
		}
		v.Close()
	}
	if req.Seen != "" {
		if err := compareCheckpoint(tree, req.Seen); err != nil {
			return nil, err
		}
	}
	newest, err := s.g.checkpoints(int(req.Cosignatures))
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, checkpointTimeout)
	defer cancel()
	for {
		c, changed := newest()
		covered, err := tree.Covered(tenant, c.Size)
		switch {
		case err != nil:
			return nil, err
		case c.Size > 0 && covered >= covers:
			return &stelev1.GetCheckpointResponse{Checkpoint: c.Note, Key: c.Keys, CoveredRevision: uint64(covered)}, nil
		case s.empty():
			return nil, ledger.NotFound("the ledger has no checkpoint yet: it gets one with its first commit")
		}
		if err := tree.Stopped(); err != nil {
			return nil, err
		}
		select {
		case <-changed:
		case <-bounded.Done():
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return nil, fmt.Errorf("%w: the newest checkpoint with %d cosignatures covers %s%s, and none that covers more was signed in time; try again", ledger.ErrUnavailable, req.Cosignatures, tenant, covered)
		}
	}
}

// compareCheckpoint compares the newest checkpoint that a caller has seen with the tree. A caller may have
// seen a newer one than this process.
func compareCheckpoint(tree *proof.Tree, signed string) error {
	err := tree.Compare(signed)
	if errors.Is(err, proof.ErrAhead) {
		return nil
	}
	return err
}

// Cosigned is where checkpoints with cosignatures are: witness.Collector.
type Cosigned interface {
	// Newest is the newest checkpoint with at least n cosignatures, and a channel that is
	// closed when there is a newer one.
	Newest(n int) (proof.Signed, <-chan struct{})
	Witnesses() int
}

// checkpoints returns where the newest checkpoint with that many cosignatures is.
func (g *Gateway) checkpoints(cosignatures int) (func() (proof.Signed, <-chan struct{}), error) {
	switch {
	case cosignatures == 0:
		return g.cfg.Tree.Newest, nil
	case g.cfg.Cosigned == nil:
		return nil, fmt.Errorf("%w: it asks none, and %d are required; ask a gateway that runs with --witness", apierror.ErrNoWitnesses, cosignatures)
	case cosignatures > g.cfg.Cosigned.Witnesses():
		return nil, fmt.Errorf("%w: it asks %d, and %d are required", apierror.ErrNoWitnesses, g.cfg.Cosigned.Witnesses(), cosignatures)
	}
	return func() (proof.Signed, <-chan struct{}) { return g.cfg.Cosigned.Newest(cosignatures) }, nil
}

// empty reports whether there is nothing that a checkpoint could cover.
func (s proofService) empty() bool {
	size, ok := s.g.cfg.Tree.Size()
	return s.g.cfg.Replica.Tenants() == 0 && ok && size == 0
}

// ProveInclusion proves commits, in the order of their revisions.
func (s proofService) ProveInclusion(ctx context.Context, req *stelev1.ProveInclusionRequest) (*stelev1.ProveInclusionResponse, error) {
	tree, err := s.tree()
	if err != nil {
		return nil, err
	}
	switch {
	case req.FromRevision > req.ToRevision:
		return nil, ledger.Invalid("from_revision", fmt.Sprintf("@%d is after to_revision, @%d", req.FromRevision, req.ToRevision))
	case req.ToRevision-req.FromRevision >= maxProofs:
		return nil, ledger.Invalid("to_revision", fmt.Sprintf("ask for at most %d commits at a time", maxProofs))
	}
	from, to := ledger.Revision(req.FromRevision), ledger.Revision(req.ToRevision)
	v, err := s.g.views.Open(ctx, replica.At{Revision: to}, view.Seen{})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	tenant := policy.CallerOf(ctx).Tenant
	resp := &stelev1.ProveInclusionResponse{}
	size := 0
	for rev := from; rev <= to; rev++ {
		in, err := tree.Inclusion(tenant, treeSize(req.TreeSize), rev)
		if err != nil {
			return nil, err
		}
		c, err := v.Commit(rev)
		if err != nil {
			return nil, err
		}
		if c.ID != ledger.CommitID(in.Leaf) {
			return nil, fmt.Errorf("%w: %s%s is %s, and leaf %d is %s", apierror.ErrDiffers, tenant, rev, c.ID, in.Index, ledger.CommitID(in.Leaf))
		}
		p := &stelev1.InclusionProof{Revision: uint64(in.Revision), Commit: c.Encoded, Index: uint64(in.Index), Hashes: hashesOf(in.Path)}
		if size += len(p.Commit) + len(p.Hashes)*tlog.HashSize; size > view.MaxPageBytes && len(resp.Proofs) > 0 {
			break
		}
		resp.Proofs = append(resp.Proofs, p)
	}
	return resp, nil
}

// ProveConsistency proves that one size of the tree is the beginning of
// another.
func (s proofService) ProveConsistency(ctx context.Context, req *stelev1.ProveConsistencyRequest) (*stelev1.ProveConsistencyResponse, error) {
	tree, err := s.tree()
	if err != nil {
		return nil, err
	}
	if req.OldSize > req.NewSize {
		return nil, ledger.Invalid("old_size", fmt.Sprintf("%d is larger than new_size, %d", req.OldSize, req.NewSize))
	}
	p, err := tree.Consistency(treeSize(req.OldSize), treeSize(req.NewSize))
	if err != nil {
		return nil, err
	}
	return &stelev1.ProveConsistencyResponse{Hashes: hashesOf(p)}, nil
}

// treeSize keeps a size that no tree has from becoming one.
func treeSize(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

func hashesOf(path []tlog.Hash) [][]byte {
	out := make([][]byte, len(path))
	for i := range path {
		out[i] = path[i][:]
	}
	return out
}
