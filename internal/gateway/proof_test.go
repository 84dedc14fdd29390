package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// proving is a gateway that keeps a tree and signs.
type proving struct {
	*fixture
	tree  *proof.Tree
	key   proof.Verifier
	proof stelev1.ProofClient
	// secret is the key's.
	secret string
}

func startProving(t testing.TB) *proving {
	t.Helper()
	tree, err := proof.OpenTree(proof.Config{Path: filepath.Join(t.TempDir(), "tree.db")})
	if err != nil {
		t.Fatal(err)
	}
	p := &proving{tree: tree}
	p.fixture = start(t, func(c *gateway.Config) {
		t.Cleanup(func() { tree.Close() }) // after the gateway and before the journal
		c.Tree = tree
	})
	p.proof = stelev1.NewProofClient(p.conn)
	p.secret, p.key = p.sign(t, tree)
	return p
}

// sign has the tree follow the journal and be signed with a new key.
func (f *fixture) sign(t testing.TB, tree *proof.Tree) (secret string, public proof.Verifier) {
	t.Helper()
	secret, text, err := proof.GenerateKey(f.node.Journal.Epoch())
	if err != nil {
		t.Fatal(err)
	}
	if public, err = proof.ParseVerifier(text); err != nil {
		t.Fatal(err)
	}
	key, err := proof.ParseKey(secret)
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
	return secret, public
}

// checkpoint is one that covers the revision, verified.
func (p *proving) checkpoint(t testing.TB, ctx context.Context, covers uint64) (proof.Checkpoint, *stelev1.GetCheckpointResponse) {
	t.Helper()
	resp, err := p.proof.GetCheckpoint(ctx, &stelev1.GetCheckpointRequest{CoversRevision: covers})
	if err != nil {
		t.Fatal(err)
	}
	c, err := proof.Open(resp.Checkpoint, p.key)
	if err != nil {
		t.Fatal(err)
	}
	if resp.CoveredRevision < covers || strings.Split(resp.Key, "+")[0] != p.key.Name() {
		t.Fatalf("%v for %v, covers %d", resp, c, covers)
	}
	return c, resp
}

// A client that has only the public key verifies every commit of its tenant and
// that each checkpoint extends the one before it, and sees nothing of the others.
func TestProofs(t *testing.T) {
	p := startProving(t)
	tenants := []ledger.Tenant{"acme", "tenant-0", "tenant-1"}
	var first proof.Checkpoint
	for i := range 30 {
		tenant := tenants[i%len(tenants)]
		ctx := p.as(t, tenant, identity.Writer)
		p.commit(t, ctx, set("secret/of-"+string(tenant), fmt.Sprintf(`"%s %d"`, tenant, i)))
		if i == 10 {
			first, _ = p.checkpoint(t, ctx, uint64(i/len(tenants)+1))
		}
	}
	for _, tenant := range tenants {
		ctx := p.as(t, tenant, identity.Reader)
		c, _ := p.checkpoint(t, ctx, 10)
		resp, err := p.proof.ProveInclusion(ctx, &stelev1.ProveInclusionRequest{TreeSize: uint64(c.Size), FromRevision: 1, ToRevision: 10})
		if err != nil {
			t.Fatal(err)
		}
		var parent ledger.CommitID
		for i, in := range resp.Proofs {
			commit, err := ledger.DecodeCommit(in.Commit)
			if err != nil {
				t.Fatal(err)
			}
			if commit.Tenant != tenant || commit.Revision != ledger.Revision(i+1) || uint64(commit.Revision) != in.Revision || commit.Parent != parent {
				t.Fatalf("%s asked for its @%d and got %s%s", tenant, i+1, commit.Tenant, commit.Revision)
			}
			parent = commit.ID
			if err := tlog.CheckRecord(pathOf(in.Hashes), c.Size, c.Root, int64(in.Index), tlog.Hash(commit.ID)); err != nil {
				t.Errorf("%s%s: %v", tenant, commit.Revision, err)
			}
			for _, other := range tenants {
				if other != tenant && bytes.Contains(in.Commit, []byte(other)) {
					t.Errorf("%s sees something of %s", tenant, other)
				}
			}
		}
		if len(resp.Proofs) != 10 {
			t.Errorf("%d proofs, want 10", len(resp.Proofs))
		}
		same, err := p.proof.ProveConsistency(ctx, &stelev1.ProveConsistencyRequest{OldSize: uint64(first.Size), NewSize: uint64(c.Size)})
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckTree(tlog.TreeProof(pathOf(same.Hashes)), c.Size, c.Root, first.Size, first.Root); err != nil {
			t.Error(err)
		}
	}
}

func pathOf(hashes [][]byte) []tlog.Hash {
	out := make([]tlog.Hash, len(hashes))
	for i := range hashes {
		out[i] = tlog.Hash(hashes[i])
	}
	return out
}

// Large commits come in pages, each with one at least.
func TestProofs_Pages(t *testing.T) {
	p := startProving(t)
	ctx := p.as(t, "acme", identity.Writer)
	for i := range 5 {
		p.commit(t, ctx, set("a", fmt.Sprintf(`"%d%s"`, i, strings.Repeat("x", 400<<10))))
	}
	c, _ := p.checkpoint(t, ctx, 5)
	var got []uint64
	for from := uint64(1); from <= 5; from = got[len(got)-1] + 1 {
		resp, err := p.proof.ProveInclusion(ctx, &stelev1.ProveInclusionRequest{TreeSize: uint64(c.Size), FromRevision: from, ToRevision: 5})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(resp.Proofs); n == 0 || n > 3 {
			t.Fatalf("a page of %d proofs", n)
		}
		for _, in := range resp.Proofs {
			got = append(got, in.Revision)
		}
	}
	if !slices.Equal(got, []uint64{1, 2, 3, 4, 5}) {
		t.Errorf("the pages hold %v", got)
	}
}

// reason is the reason of an error's ErrorInfo.
func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}

func TestProofs_InvalidRequests(t *testing.T) {
	p := startProving(t)
	ctx := p.as(t, "acme", identity.Writer)
	until(t, func() bool { _, ok := p.tree.Size(); return ok })
	_, empty := p.proof.GetCheckpoint(ctx, &stelev1.GetCheckpointRequest{})
	p.commit(t, ctx, set("a", "1"))
	old, _ := p.checkpoint(t, ctx, 1)
	p.commit(t, ctx, set("a", "2"))
	p.checkpoint(t, ctx, 2)
	neighbor := p.as(t, "neighbor", identity.Admin)
	if c, resp := p.checkpoint(t, neighbor, 0); c.Size != 2 || resp.CoveredRevision != 0 {
		t.Errorf("a tenant without a commit gets %v, which covers its @%d", c, resp.CoveredRevision)
	}
	checkpoint := func(ctx context.Context, covers uint64) func() error {
		return func() error {
			_, err := p.proof.GetCheckpoint(ctx, &stelev1.GetCheckpointRequest{CoversRevision: covers})
			return err
		}
	}
	inclusion := func(ctx context.Context, size, from, to uint64) func() error {
		return func() error {
			_, err := p.proof.ProveInclusion(ctx, &stelev1.ProveInclusionRequest{TreeSize: size, FromRevision: from, ToRevision: to})
			return err
		}
	}
	consistency := func(old, new uint64) func() error {
		return func() error {
			_, err := p.proof.ProveConsistency(ctx, &stelev1.ProveConsistencyRequest{OldSize: old, NewSize: new})
			return err
		}
	}
	const huge = ^uint64(0)
	for _, tc := range []struct {
		name string
		call func() error
		code codes.Code
		text string // that the message holds
		why  string // the reason, or the field that is blamed
	}{
		{"a checkpoint that covers the future", checkpoint(ctx, 3), codes.OutOfRange, "acme@3 is in the future: the head is acme@2", "NO_SUCH_MOMENT"},
		{"a checkpoint that covers what no ledger has", checkpoint(ctx, huge), codes.OutOfRange, "in the future", "NO_SUCH_MOMENT"},
		{"a checkpoint of a tenant without a commit", checkpoint(neighbor, 1), codes.OutOfRange, "has no commits", "NO_SUCH_MOMENT"},
		{"a checkpoint of a ledger without a commit", func() error { return empty }, codes.NotFound, "has no checkpoint yet", "NOT_FOUND"},
		{"a revision of the future", inclusion(ctx, 2, 1, 3), codes.OutOfRange, "acme@3 is in the future", "NO_SUCH_MOMENT"},
		{"a commit that is newer than the tree", inclusion(ctx, uint64(old.Size), 1, 2), codes.OutOfRange, "acme@2 is not in the tree of size 1: take a newer checkpoint", "NOT_COVERED"},
		{"another tenant's revision", inclusion(neighbor, 2, 2, 2), codes.OutOfRange, "has no commits", "NO_SUCH_MOMENT"},
		{"a tree that is larger than the tree", inclusion(ctx, 3, 1, 1), codes.OutOfRange, "has 2 commits, not 3: is the checkpoint of this ledger?", "NO_SUCH_TREE"},
		{"a tree that is larger than any", inclusion(ctx, huge, 1, 1), codes.OutOfRange, "has 2 commits", "NO_SUCH_TREE"},
		{"no tree", inclusion(ctx, 0, 1, 1), codes.InvalidArgument, "", "tree_size"},
		{"from no revision", inclusion(ctx, 2, 0, 1), codes.InvalidArgument, "", "from_revision"},
		{"from a later revision", inclusion(ctx, 2, 2, 1), codes.InvalidArgument, "@2 is after to_revision, @1", "from_revision"},
		{"too many", inclusion(ctx, 2, 1, 1001), codes.InvalidArgument, "at most 1000", "to_revision"},
		{"from an empty tree", consistency(0, 2), codes.InvalidArgument, "", "old_size"},
		{"from a larger tree", consistency(2, 1), codes.InvalidArgument, "2 is larger than new_size, 1", "old_size"},
		{"to a tree that is not there", consistency(1, 4), codes.OutOfRange, "has 2 commits, not 4", "NO_SUCH_TREE"},
		{"to one that no ledger has", consistency(1, huge), codes.OutOfRange, "has 2 commits", "NO_SUCH_TREE"},
		{"no token", checkpoint(t.Context(), 0), codes.Unauthenticated, "", "UNAUTHENTICATED"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.call()
			if status.Code(err) != tc.code || !strings.Contains(status.Convert(err).Message(), tc.text) {
				t.Errorf("%v\nwant %s with %q", err, tc.code, tc.text)
			}
			if why := reason(err) + field(err); why != tc.why {
				t.Errorf("the reason is %q, want %q", why, tc.why)
			}
		})
	}
}

func TestProofs_WithoutATree(t *testing.T) {
	f := start(t)
	client := stelev1.NewProofClient(f.conn)
	ctx := f.as(t, "acme", identity.Reader)
	_, one := client.GetCheckpoint(ctx, &stelev1.GetCheckpointRequest{})
	_, two := client.ProveInclusion(ctx, &stelev1.ProveInclusionRequest{TreeSize: 1, FromRevision: 1, ToRevision: 1})
	_, three := client.ProveConsistency(ctx, &stelev1.ProveConsistencyRequest{OldSize: 1, NewSize: 1})
	for _, err := range []error{one, two, three} {
		if status.Code(err) != codes.FailedPrecondition || reason(err) != "NO_TREE" || !strings.Contains(err.Error(), "role signer") {
			t.Errorf("%v", err)
		}
	}
}

func TestProofs_Metrics(t *testing.T) {
	p := startProving(t)
	ctx := p.as(t, "acme", identity.Writer)
	p.commit(t, ctx, set("a", "1"))
	p.checkpoint(t, ctx, 1)
	w := httptest.NewRecorder()
	p.gateway.HTTP().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"stele_tree_size 1\n", "stele_checkpoint_size 1\n", "stele_tree_stopped 0\n"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %q", want)
		}
	}
}
