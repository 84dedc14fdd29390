package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/stelehq/stele/cmd/stele/internal/auditor"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// verifyTenant verifies what the gateway serves of the tenant.
func (s *session) verifyTenant(ctx context.Context, o verifyOptions) error {
	a, err := s.auditor(o.key)
	if err != nil {
		return err
	}
	head, err := s.ledger.GetHead(ctx, &stelev1.GetHeadRequest{})
	if err != nil {
		return err
	}
	if s.tenant == "" {
		status, err := s.ledger.GetStatus(ctx, &stelev1.GetStatusRequest{})
		if err != nil {
			return err
		}
		s.tenant = ledger.Tenant(status.Principal.Tenant)
	}
	if head.Snapshot.Head == 0 {
		return failure.With(failure.NotFound, fmt.Errorf("%s has no commit to verify", s.tenant))
	}
	c, err := a.Checkpoint(ctx, ledger.Revision(head.Snapshot.Head))
	if err != nil {
		return err
	}
	from, err := openCheckpoints(o.from, c.Key)
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
	v, err := a.Tenant(ctx, c, s.tenant, bar.seen)
	bar.close()
	if err != nil {
		return err
	}
	if o.save != "" {
		if err := os.WriteFile(o.save, []byte(c.Signed), 0o600); err != nil {
			return fmt.Errorf("save the checkpoint: %w", err)
		}
	}
	return s.tellTenant(c, v, from, time.Since(started))
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

func (s *session) tellTenant(c auditor.Checkpoint, v auditor.Verified, from []proof.Checkpoint, took time.Duration) error {
	if s.Format != output.Text {
		o := struct {
			provenBy
			Tenant  ledger.Tenant   `json:"tenant"`
			To      ledger.Revision `json:"to"`
			Commits int             `json:"commits"`
			Changes int             `json:"changes"`
			Keys    int             `json:"keys"`
			Extends int64           `json:"extends_size,omitempty"`
		}{provenObject("tenant", c.Checkpoint, c.Key, c.Trusted), s.tenant, c.Covered, v.Commits, v.Changes, v.Keys, 0}
		for _, old := range from {
			o.Extends = old.Size
		}
		return s.Object(o)
	}
	rows := [][2]string{
		{"chain", fmt.Sprintf("%s with %s, each in the tree, in %s", counted(v.Commits, "commit"), counted(v.Changes, "change"), took.Round(time.Millisecond))},
		{"replica", fmt.Sprintf("what is read at %s equals the replay: %s", s.name(uint64(c.Covered)), counted(v.Keys, "key"))},
	}
	if v.First != nil {
		rows = append(rows, [2]string{"time", v.First.Time.Format(time.RFC3339) + " to " + v.Last.Time.Format(time.RFC3339)})
	}
	for _, old := range from {
		rows = append(rows, [2]string{"extends", fmt.Sprintf("the checkpoint at %s", counted(int(old.Size), "commit"))})
	}
	if err := s.Printf("%s is verified\n", styleRevision(s.name(uint64(c.Covered)))); err != nil {
		return err
	}
	return tellProven(s.Printer, rows, c.Checkpoint, c.Key, c.Trusted)
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
