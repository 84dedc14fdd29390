package replication

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/durable"
	"github.com/stelehq/stele/internal/gateway/reason"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc"
)

// verifyInterval is the time between two checks of the newest commits against a
// checkpoint, and verifyCommits how many are checked at most.
// verifyAgain is the time until commits that no checkpoint covered are asked for again.
const (
	verifyInterval = 30 * time.Second
	verifyAgain    = 5 * time.Second
	verifyCommits  = 100
)

// errNotProven: the upstream's commits are not what the ledger's key has signed.
var errNotProven = errors.New("its commits are not proven by the ledger's checkpoint")

// errForged: a commit that the edge has is not in the tree where the upstream says it is.
var errForged = fmt.Errorf("%w: a commit is not in the tree", errNotProven)

// Pin is a folder that keeps the ledger's public key, upstream.pub, and the newest
// checkpoint that was verified with it, upstream.checkpoint. The first key that an
// upstream sends is kept; put the file there before the first start to take it from
// elsewhere.
type Pin string

func (p Pin) key() (string, error) { return p.read("upstream.pub") }

func (p Pin) read(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(string(p), name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSuffix(string(b), "\n"), err
}

func (p Pin) write(name, text string) error {
	return durable.Replace(filepath.Join(string(p), name), []byte(text+"\n"))
}

// verify checks the newest commits after the first progress, and then from time to time.
// It returns what contradicts the ledger's key; an upstream that has no tree is only
// noted.
func (c *Client) verify(ctx context.Context, u *upstream, to *replica.Target, progressed <-chan struct{}) error {
	select {
	case <-progressed:
	case <-ctx.Done():
		return nil
	}
	// Commits count as verified once all of them are covered, so that an upstream
	// cannot leave some out permanently unnoticed.
	var pending []replica.TenantHead
	for {
		if len(pending) == 0 {
			pending = sample(to.Have())
		}
		wait := verifyInterval
		switch covered, err := c.check(ctx, u, pending); {
		case errors.Is(err, errNotProven):
			return err
		case err != nil && ctx.Err() == nil:
			c.cfg.Log.Info("commits were not checked against a checkpoint", "upstream", u.address, "error", err)
		case covered:
			pending = nil
		default:
			wait = verifyAgain
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// sample are at most verifyCommits heads: tenants take turns if there are more.
func sample(have []replica.TenantHead) []replica.TenantHead {
	if n := len(have); n > verifyCommits {
		start := int(time.Now().Unix()/int64(verifyInterval.Seconds())) * verifyCommits % n
		return append(have[start:], have[:start]...)[:verifyCommits]
	}
	return have
}

// check verifies one checkpoint and the commits that it covers, and reports whether
// these are all.
func (c *Client) check(ctx context.Context, u *upstream, have []replica.TenantHead) (covered bool, err error) {
	if len(have) == 0 {
		return false, nil
	}
	old, err := c.cfg.Pin.checkpoint()
	if err != nil {
		return false, err
	}
	req := &stelev1.ProveRequest{OldSize: uint64(old.Size), Cosignatures: uint32(c.cfg.Witnesses.Quorum)}
	if req.Seen, err = c.cfg.Pin.seen(); err != nil {
		return false, err
	}
	for _, h := range have {
		req.Commits = append(req.Commits, head(h))
	}
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	resp, err := stelev1.NewReplicationClient(u.conn).Prove(Via(ctx, c.cfg.Self), req, grpc.MaxCallRecvMsgSize(maxReceive))
	if reason.Of(err) == reason.SplitView { // another upstream has shown another history
		return false, fmt.Errorf("%w: the upstream's tree is another than that of a checkpoint which was seen before: %w", errNotProven, err)
	}
	if err != nil {
		return false, err
	}
	size, covered, err := c.cfg.Pin.accept(c.cfg.Witnesses, old, req, resp)
	if err != nil || !covered {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	u.verified, u.verifiedSize, c.suspect = time.Now(), size, false
	return true, nil
}

// checkpoint is the newest that was verified; the zero one if there is none.
func (p Pin) checkpoint() (proof.Checkpoint, error) {
	key, err := p.key()
	if err != nil || key == "" {
		return proof.Checkpoint{}, err
	}
	signed, err := p.read("upstream.checkpoint")
	if err != nil || signed == "" {
		return proof.Checkpoint{}, err
	}
	v, err := proof.ParseVerifier(key)
	if err != nil {
		return proof.Checkpoint{}, err
	}
	return proof.Open(signed+"\n", v)
}

// seen is the text of that checkpoint; empty if there is none.
func (p Pin) seen() (string, error) {
	signed, err := p.read("upstream.checkpoint")
	if err != nil || signed == "" {
		return "", err
	}
	return signed + "\n", nil
}

// accept verifies an answer, and keeps its checkpoint. covered reports whether all of the
// commits were proven.
func (p Pin) accept(w proof.Witnesses, old proof.Checkpoint, req *stelev1.ProveRequest, resp *stelev1.ProveResponse) (size int64, covered bool, err error) {
	text, err := p.key()
	if err != nil {
		return 0, false, err
	}
	pinned := text
	if pinned == "" {
		text = resp.Key
	}
	key, err := proof.ParseVerifier(text)
	if err == nil && pinned != "" && resp.Key != "" {
		key, err = key.Extend(resp.Key) // the ledger's key may have a successor
	}
	if err != nil {
		return 0, false, fmt.Errorf("%w: its key: %w", errNotProven, err)
	}
	c, err := proof.Open(resp.Checkpoint, key.Require(w))
	if err != nil {
		return 0, false, fmt.Errorf("%w: %w", errNotProven, err)
	}
	switch {
	case c.Size < old.Size:
		return 0, false, fmt.Errorf("%w: its checkpoint has %d commits, and one with %d was seen", errNotProven, c.Size, old.Size)
	case old.Size > 0:
		if err := tlog.CheckTree(hashes(resp.Consistency), c.Size, c.Root, old.Size, old.Root); err != nil {
			return 0, false, fmt.Errorf("%w: the checkpoint at %d commits does not extend the one at %d: %w", errNotProven, c.Size, old.Size, err)
		}
	}
	if len(resp.Proofs) != len(req.Commits) {
		return 0, false, fmt.Errorf("%w: %d proofs came for %d commits", errNotProven, len(resp.Proofs), len(req.Commits))
	}
	covered = true
	for i, cp := range resp.Proofs {
		if !cp.Covered {
			covered = false
			continue
		}
		h := req.Commits[i]
		if int64(cp.Index) >= c.Size || tlog.CheckRecord(tlog.RecordProof(hashes(cp.Hashes)), c.Size, c.Root, int64(cp.Index), tlog.Hash(h.Id)) != nil {
			return 0, false, fmt.Errorf("%w: %s@%d at %d commits", errForged, h.Tenant, h.Revision, c.Size)
		}
	}
	if !covered {
		return c.Size, false, nil // what proves nothing is not kept
	}
	if keys := strings.TrimSuffix(key.Keys(), "\n"); keys != pinned {
		if err := p.write("upstream.pub", keys); err != nil {
			return 0, false, err
		}
	}
	return c.Size, true, p.write("upstream.checkpoint", strings.TrimSuffix(resp.Checkpoint, "\n"))
}

// hashes reads a path; one of another length proves nothing.
func hashes(raw [][]byte) tlog.TreeProof {
	out := make(tlog.TreeProof, len(raw))
	for i, b := range raw {
		copy(out[i][:], b)
	}
	return out
}

// Prove answers a gateway below this one from the tree, with the newest checkpoint that has the
// cosignatures which the request asks for. Errors: the errors of proof.Tree, and
// ledger.ErrUnavailable while no checkpoint covers the commits that the edge verifies.
func Prove(tree *proof.Tree, newest proof.Signed, req *stelev1.ProveRequest) (*stelev1.ProveResponse, error) {
	if newest.Size == 0 || uint64(newest.Size) < req.OldSize {
		return nil, fmt.Errorf("%w: the newest checkpoint here covers %d commits, and the edge has seen one of %d", ledger.ErrUnavailable, newest.Size, req.OldSize)
	}
	resp := &stelev1.ProveResponse{Checkpoint: newest.Note, Key: newest.Keys}
	if req.OldSize > 0 {
		path, err := tree.Consistency(int64(req.OldSize), newest.Size)
		if err != nil {
			return nil, err
		}
		for _, h := range path {
			resp.Consistency = append(resp.Consistency, h[:])
		}
	}
	for _, h := range req.Commits {
		cp := &stelev1.CommitProof{}
		err := proveOne(tree, newest.Size, h, cp)
		if err != nil && !errors.Is(err, proof.ErrNotCovered) {
			return nil, err
		}
		resp.Proofs = append(resp.Proofs, cp)
	}
	return resp, nil
}

func proveOne(tree *proof.Tree, size int64, h *stelev1.ReplicatedHead, cp *stelev1.CommitProof) error {
	rev := ledger.Revision(h.Revision)
	in, err := tree.Inclusion(ledger.Tenant(h.Tenant), size, rev)
	if err != nil {
		return err
	}
	cp.Covered, cp.Index = true, uint64(in.Index)
	for _, hash := range in.Path {
		cp.Hashes = append(cp.Hashes, hash[:])
	}
	return nil
}
