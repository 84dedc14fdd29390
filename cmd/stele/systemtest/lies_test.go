package systemtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stelehq/stele/cmd/stele/internal/auditor"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
)

// liar is a gateway with edited answers.
type liar struct {
	stelev1.ProofClient
	stelev1.ConfigClient
	checkpoint  func(*stelev1.GetCheckpointResponse)
	inclusion   func(*stelev1.ProveInclusionResponse)
	consistency func(*stelev1.ProveConsistencyResponse)
	list        func(*stelev1.ListResponse)
}

func lie[T any](edit func(T), answer T, err error) (T, error) {
	if err == nil && edit != nil {
		edit(answer)
	}
	return answer, err
}

func (l *liar) GetCheckpoint(ctx context.Context, r *stelev1.GetCheckpointRequest, _ ...grpc.CallOption) (*stelev1.GetCheckpointResponse, error) {
	resp, err := l.ProofClient.GetCheckpoint(ctx, r)
	return lie(l.checkpoint, resp, err)
}

func (l *liar) ProveInclusion(ctx context.Context, r *stelev1.ProveInclusionRequest, _ ...grpc.CallOption) (*stelev1.ProveInclusionResponse, error) {
	resp, err := l.ProofClient.ProveInclusion(ctx, r)
	return lie(l.inclusion, resp, err)
}

func (l *liar) ProveConsistency(ctx context.Context, r *stelev1.ProveConsistencyRequest, _ ...grpc.CallOption) (*stelev1.ProveConsistencyResponse, error) {
	resp, err := l.ProofClient.ProveConsistency(ctx, r)
	return lie(l.consistency, resp, err)
}

func (l *liar) List(ctx context.Context, r *stelev1.ListRequest, _ ...grpc.CallOption) (*stelev1.ListResponse, error) {
	resp, err := l.ConfigClient.List(ctx, r)
	return lie(l.list, resp, err)
}

func TestVerify_LyingGateway(t *testing.T) {
	upHere(t, t.TempDir())
	for i := range 6 {
		mustRun(t, "-t", "acme", "set", fmt.Sprintf("a/%d", i%4), fmt.Sprint(i))
	}
	mustRun(t, "-t", "acme", "delete", "a/3")
	c := &session.Flags{Format: "text"}
	c.Choice.Tenant = "acme"
	s, err := c.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Conn.Close()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(s.Settings.TokenFile), "identity", "checkpoint.pub"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := proof.ParseVerifier(string(text))
	if err != nil {
		t.Fatal(err)
	}
	key := &public
	ctx := s.ActFor(t.Context())
	honest := auditor.Auditor{Proof: stelev1.NewProofClient(s.Conn), Config: s.Config, Key: key}
	old, err := honest.Checkpoint(ctx, 7)
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, "-t", "acme", "set", "a/4", "4")

	audit := func(l *liar, old proof.Checkpoint) (auditor.Verified, error) {
		l.ProofClient, l.ConfigClient = stelev1.NewProofClient(s.Conn), s.Config
		a := auditor.Auditor{Proof: l, Config: l, Key: key}
		c, err := a.Checkpoint(ctx, 8)
		if err != nil {
			return auditor.Verified{}, err
		}
		if err := a.Extends(ctx, old, c); err != nil {
			return auditor.Verified{}, err
		}
		return a.Tenant(ctx, c, "acme", func(ledger.Revision) {})
	}
	if v, err := audit(&liar{}, old.Checkpoint); err != nil || v.Commits != 8 || v.Keys != 4 {
		t.Fatalf("the truth: %+v, %v", v, err)
	}
	proofs := func(edit func(p []*stelev1.InclusionProof) []*stelev1.InclusionProof) *liar {
		return &liar{inclusion: func(r *stelev1.ProveInclusionResponse) { r.Proofs = edit(r.Proofs) }}
	}
	entries := func(edit func(e []*stelev1.Entry) []*stelev1.Entry) *liar {
		return &liar{list: func(r *stelev1.ListResponse) { r.Entries = edit(r.Entries) }}
	}
	for name, l := range map[string]*liar{
		"another key's checkpoint": {checkpoint: func(r *stelev1.GetCheckpointResponse) { r.Checkpoint, r.Key = forge(t, r.Checkpoint) }},
		"an old checkpoint":        {checkpoint: func(r *stelev1.GetCheckpointResponse) { r.Checkpoint, r.CoveredRevision = old.Signed, 7 }},
		"no proofs":                proofs(func([]*stelev1.InclusionProof) []*stelev1.InclusionProof { return nil }),
		"a commit left out":        proofs(func(p []*stelev1.InclusionProof) []*stelev1.InclusionProof { return slices.Delete(p, 2, 3) }),
		"a commit twice":           proofs(func(p []*stelev1.InclusionProof) []*stelev1.InclusionProof { return append(p, p[7]) }),
		"another commit":           proofs(func(p []*stelev1.InclusionProof) []*stelev1.InclusionProof { p[3].Commit[60] ^= 1; return p }),
		"another place":            proofs(func(p []*stelev1.InclusionProof) []*stelev1.InclusionProof { p[3].Index++; return p }),
		"a place beyond":           proofs(func(p []*stelev1.InclusionProof) []*stelev1.InclusionProof { p[3].Index = 1 << 63; return p }),
		"another path":             proofs(func(p []*stelev1.InclusionProof) []*stelev1.InclusionProof { p[3].Hashes[0][0] ^= 1; return p }),
		"half a hash": proofs(func(p []*stelev1.InclusionProof) []*stelev1.InclusionProof {
			p[3].Hashes[0] = p[3].Hashes[0][:16]
			return p
		}),
		"two commits exchanged": proofs(func(p []*stelev1.InclusionProof) []*stelev1.InclusionProof { p[1], p[2] = p[2], p[1]; return p }),
		"another extension":     {consistency: func(r *stelev1.ProveConsistencyResponse) { r.Hashes[0][0] ^= 1 }},
		"a key left out":        entries(func(e []*stelev1.Entry) []*stelev1.Entry { return e[1:] }),
		"a key twice":           entries(func(e []*stelev1.Entry) []*stelev1.Entry { return append(e, e[len(e)-1]) }),
		"a key made up":         entries(func(e []*stelev1.Entry) []*stelev1.Entry { return append(e, &stelev1.Entry{Key: "z", Value: "1"}) }),
		"a deleted key":         entries(func(e []*stelev1.Entry) []*stelev1.Entry { e[2].Key = "a/3"; return e[:3] }),
		"another value":         entries(func(e []*stelev1.Entry) []*stelev1.Entry { e[0].Value = "9"; return e }),
		"another revision":      entries(func(e []*stelev1.Entry) []*stelev1.Entry { e[0].Revision++; return e }),
	} {
		if _, err := audit(l, old.Checkpoint); !errors.Is(err, proof.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// An earlier checkpoint also binds an honest gateway.
	rewritten := old.Checkpoint
	rewritten.Root[0] ^= 1
	longer := old.Checkpoint
	longer.Size += 100
	for name, seen := range map[string]proof.Checkpoint{"another history": rewritten, "a longer one": longer} {
		if _, err := audit(&liar{}, seen); !errors.Is(err, proof.ErrInvalid) {
			t.Errorf("%s was seen: %v", name, err)
		}
	}
	alien := old.Checkpoint
	alien.Epoch[0]++
	if _, err := audit(&liar{}, alien); !errors.Is(err, proof.ErrOtherLedger) {
		t.Errorf("another ledger was seen: %v", err)
	}
}
