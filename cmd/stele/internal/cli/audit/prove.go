package audit

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/auditor"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func ProveCommand(c *session.Flags) *cobra.Command {
	var key keyOptions
	cmd := &cobra.Command{
		Use:   "prove REV",
		Short: "Print a receipt that proves a commit offline",
		Long: `Print a commit's receipt: the commit, its place in the ledger's tree, and a
signed checkpoint of that. Anyone with the ledger's public key can verify it
offline, at any time, with "stele verify". It waits until a checkpoint covers
the commit, and verifies the receipt before it prints it.`,
		Example: `  stele prove @42 > receipt
  stele verify receipt --key checkpoint.pub`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		a, err := newAuditor(s, key)
		if err != nil {
			return err
		}
		rev, err := revision(ctx, s, args[0])
		if err != nil {
			return err
		}
		at, err := a.Checkpoint(ctx, rev)
		if err != nil {
			return unverified(err)
		}
		err = a.Proofs(ctx, at, rev, rev, func(p proof.Proven) error {
			if _, err := proof.NewChain(at.Checkpoint, s.Tenant, rev).Next(p); err != nil {
				return err
			}
			return s.Write([]byte(proof.Receipt{Proven: p, Signed: at.Signed}.Text()))
		})
		return unverified(err)
	})
	key.addFlags(cmd.Flags())
	return cmd
}

// newAuditor verifies the gateway's proofs about the tenant.
func newAuditor(s *session.Session, o keyOptions) (*auditor.Auditor, error) {
	key, err := o.checkpointKey(s)
	if err != nil {
		return nil, err
	}
	witnesses, err := o.required()
	if err != nil {
		return nil, err
	}
	return &auditor.Auditor{
		Proof: stelev1.NewProofClient(s.Conn), Config: s.Config, Key: key, Witnesses: witnesses,
		Seen: filepath.Join(filepath.Dir(s.Settings.Path), "checkpoints"),
	}, nil
}

// revision is the revision of the commit that made the state.
func revision(ctx context.Context, s *session.Session, text string) (ledger.Revision, error) {
	at, err := s.At(ctx, text)
	if err != nil {
		return 0, err
	}
	resp, err := s.Ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{Until: at, PageSize: 1, OmitValues: true})
	if err != nil {
		return 0, err
	}
	if len(resp.Commits) == 0 {
		return 0, failure.With(failure.NotFound, fmt.Errorf("%s is before the first commit", text))
	}
	c := resp.Commits[0].Commit
	s.Tenant = ledger.Tenant(c.Tenant)
	return ledger.Revision(c.Revision), nil
}
