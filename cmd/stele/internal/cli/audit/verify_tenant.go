package audit

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/stelehq/stele/cmd/stele/internal/auditor"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// verifyTenant verifies the gateway's answers about the tenant.
func verifyTenant(ctx context.Context, s *session.Session, o verifyOptions) error {
	a, err := newAuditor(s, o.key)
	if err != nil {
		return err
	}
	head, err := s.Ledger.GetHead(ctx, &stelev1.GetHeadRequest{})
	if err != nil {
		return err
	}
	if s.Tenant == "" {
		status, err := s.Ledger.GetStatus(ctx, &stelev1.GetStatusRequest{})
		if err != nil {
			return err
		}
		s.Tenant = ledger.Tenant(status.Principal.Tenant)
	}
	if head.Snapshot.Head == 0 {
		return failure.With(failure.NotFound, fmt.Errorf("tenant %s has no commits to verify", s.Tenant))
	}
	c, err := a.Checkpoint(ctx, ledger.Revision(head.Snapshot.Head))
	if err != nil {
		return err
	}
	from, err := openCheckpoints(o.from, c.Key.Require(proof.Witnesses{}))
	if err != nil {
		return err
	}
	for _, old := range from {
		if err := a.Extends(ctx, old, c); err != nil {
			return err
		}
	}
	started := time.Now()
	bar := newCommitBar(int64(c.Covered))
	v, err := a.Tenant(ctx, c, s.Tenant, bar.seen)
	bar.close()
	if err != nil {
		return err
	}
	if o.save != "" {
		if err := os.WriteFile(o.save, []byte(c.Signed), 0o600); err != nil {
			return fmt.Errorf("save the checkpoint: %w", err)
		}
	}
	return reportTenant(s, c, v, from, time.Since(started))
}

// openCheckpoints reads files with a checkpoint each.
func openCheckpoints(names []string, key proof.Verifier) ([]proof.Checkpoint, error) {
	out := make([]proof.Checkpoint, len(names))
	for i, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if out[i], err = proof.Open(string(text), key); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return out, nil
}

func reportTenant(s *session.Session, c auditor.Checkpoint, v auditor.Verified, from []proof.Checkpoint, took time.Duration) error {
	if s.Format != output.Text {
		o := struct {
			provenBy
			Tenant  ledger.Tenant   `json:"tenant"`
			To      ledger.Revision `json:"to"`
			Commits int             `json:"commits"`
			Changes int             `json:"changes"`
			Keys    int             `json:"keys"`
			// Inherited keys are those of Bases, which are verified by themselves.
			Inherited int             `json:"inherited,omitempty"`
			Bases     []ledger.Tenant `json:"bases,omitempty"`
			Extends   int64           `json:"extends_size,omitempty"`
		}{provenObject("tenant", c.Checkpoint, c.Signed, c.Key, c.Trusted), s.Tenant, c.Covered, v.Commits, v.Changes, v.Keys, v.Inherited, v.Bases, 0}
		for _, old := range from {
			o.Extends = old.Size
		}
		return s.Object(o)
	}
	rows := [][2]string{
		{"chain", fmt.Sprintf("%s with %s, each in the tree, in %s", output.Count(v.Commits, "commit"), output.Count(v.Changes, "change"), took.Round(time.Millisecond))},
		{"replica", fmt.Sprintf("what is read at %s equals the replay: %s", s.Name(uint64(c.Covered)), output.Count(v.Keys, "key"))},
	}
	if v.Inherited > 0 {
		rows = append(rows, [2]string{"bases", fmt.Sprintf("%s of %v not verified: verify each of these tenants", output.Count(v.Inherited, "inherited value"), v.Bases)})
	}
	if v.First != nil {
		rows = append(rows, [2]string{"time", v.First.Time.Format(time.RFC3339) + " to " + v.Last.Time.Format(time.RFC3339)})
	}
	for _, old := range from {
		rows = append(rows, [2]string{"extends", fmt.Sprintf("the checkpoint at %s", output.Count(int(old.Size), "commit"))})
	}
	if err := s.Printf("%s is verified\n", render.Revision(s.Name(uint64(c.Covered)))); err != nil {
		return err
	}
	return reportProven(s.Printer, rows, c.Checkpoint, c.Signed, c.Key, c.Trusted)
}

// commitBar draws how many commits are done on a terminal, and nothing elsewhere.
type commitBar struct {
	bar   *progressbar.ProgressBar
	drawn time.Time
}

func newCommitBar(commits int64) *commitBar {
	b := &commitBar{}
	if output.NewPrinter(os.Stderr, output.Text).Terminal() {
		b.bar = progressbar.NewOptions64(commits, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionClearOnFinish(),
			progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth())
	}
	return b
}

func (b *commitBar) seen(r ledger.Revision) {
	const often = 100 * time.Millisecond
	if b.bar != nil && time.Since(b.drawn) >= often {
		b.drawn = time.Now()
		_ = b.bar.Set64(int64(r)) // one that cannot be drawn is no reason to stop
	}
}

func (b *commitBar) close() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}
