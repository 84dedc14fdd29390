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

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/proof"
	"github.com/stelehq/stele/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/mod/sumdb/tlog"
)

// verifyInterval is the time between two checks of the newest commits against a
// checkpoint, and verifyCommits how many are checked at most.
const (
	verifyInterval = 30 * time.Second
	verifyCommits  = 100
)

// errNotProven: what the upstream sent is not what the ledger's key has signed.
var errNotProven = errors.New("its commits are not proven by the ledger's checkpoint")

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
	path := filepath.Join(string(p), name)
	if err := os.WriteFile(path+".new", []byte(text+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
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
	for {
		err := c.check(ctx, u, to)
		if errors.Is(err, errNotProven) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			c.cfg.Log.Info("commits were not checked against a checkpoint", "upstream", u.address, "error", err)
		}
		select {
		case <-time.After(verifyInterval):
		case <-ctx.Done():
			return nil
		}
	}
}

// check verifies one checkpoint, and that it covers the edge's commits.
func (c *Client) check(ctx context.Context, u *upstream, to *replica.Target) error {
	have := to.Have()
	// The tenants take turns when there are many.
	if n := len(have); n > verifyCommits {
		start := int(time.Now().Unix()/int64(verifyInterval.Seconds())) * verifyCommits % n
		have = append(have[start:], have[:start]...)[:verifyCommits]
	}
	if len(have) == 0 {
		return nil
	}
	old, err := c.cfg.Pin.checkpoint()
	if err != nil {
		return err
	}
	req := &stelev1.ProveRequest{OldSize: uint64(old.Size)}
	for _, h := range have {
		req.Commits = append(req.Commits, &stelev1.ReplicatedHead{Tenant: string(h.Tenant), Revision: uint64(h.Head.Revision), Id: h.Head.ID[:]})
	}
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	resp, err := stelev1.NewReplicationClient(u.conn).Prove(ctx, req)
	if err != nil {
		return err
	}
	size, covered, err := c.cfg.Pin.accept(old, req, resp)
	if err != nil {
		return err
	}
	if covered {
		c.mu.Lock()
		u.verified, u.verifiedSize = time.Now(), size
		c.mu.Unlock()
	}
	return nil
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

// accept verifies an answer, and keeps its checkpoint. covered says whether any of the
// commits was proven.
func (p Pin) accept(old proof.Checkpoint, req *stelev1.ProveRequest, resp *stelev1.ProveResponse) (size int64, covered bool, err error) {
	text, err := p.key()
	if err != nil {
		return 0, false, err
	}
	pinned := text != ""
	if !pinned {
		text = resp.Key
	}
	key, err := proof.ParseVerifier(text)
	if err != nil {
		return 0, false, fmt.Errorf("%w: its key: %w", errNotProven, err)
	}
	c, err := proof.Open(resp.Checkpoint, key)
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
	for i, cp := range resp.Proofs {
		if !cp.Covered {
			continue
		}
		covered = true
		h := req.Commits[i]
		if int64(cp.Index) >= c.Size || tlog.CheckRecord(tlog.RecordProof(hashes(cp.Hashes)), c.Size, c.Root, int64(cp.Index), tlog.Hash(h.Id)) != nil {
			return 0, false, fmt.Errorf("%w: %s@%d is not in the tree at %d commits", errNotProven, h.Tenant, h.Revision, c.Size)
		}
	}
	if !pinned {
		if err := p.write("upstream.pub", text); err != nil {
			return 0, false, err
		}
	}
	return c.Size, covered, p.write("upstream.checkpoint", strings.TrimSuffix(resp.Checkpoint, "\n"))
}

// hashes reads a path; one of another length proves nothing.
func hashes(raw [][]byte) tlog.TreeProof {
	out := make(tlog.TreeProof, len(raw))
	for i, b := range raw {
		copy(out[i][:], b)
	}
	return out
}

// Prove answers a gateway below this one from the tree. Errors: those of proof.Tree, and
// ledger.ErrUnavailable while no checkpoint covers what the edge has verified.
func Prove(tree *proof.Tree, req *stelev1.ProveRequest) (*stelev1.ProveResponse, error) {
	newest, _ := tree.Newest()
	if newest.Size == 0 || newest.Size < int64(req.OldSize) {
		return nil, fmt.Errorf("%w: the newest checkpoint here covers %d commits, and the edge has seen one of %d", ledger.ErrUnavailable, newest.Size, req.OldSize)
	}
	resp := &stelev1.ProveResponse{Checkpoint: newest.Note, Key: newest.Key}
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
	return tree.Inclusions(ledger.Tenant(h.Tenant), size, rev, rev, func(in proof.Inclusion) bool {
		cp.Covered, cp.Index = true, uint64(in.Index)
		for _, hash := range in.Path {
			cp.Hashes = append(cp.Hashes, hash[:])
		}
		return true
	})
}
