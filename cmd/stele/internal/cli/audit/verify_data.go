package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/verify"
)

// verifyData verifies a ledger that is stopped.
func verifyData(ctx context.Context, c *session.Flags, o verifyOptions) error {
	if _, err := os.Stat(o.data); errors.Is(err, fs.ErrNotExist) {
		return failure.With(failure.NotFound, fmt.Errorf("folder %s does not exist: name the data folder of \"stele up\"", o.data))
	}
	key, err := o.key.given()
	if err != nil {
		return err
	}
	own, err := localKey(o.data)
	if err != nil {
		return err
	}
	cfg := verify.Config{Dir: o.data, Restored: o.restored}
	switch {
	case key != nil:
		cfg.Key = *key
		if own != nil { // the ledger may have changed its key
			if extended, err := key.Extend(own.Keys()); err == nil {
				cfg.Key = extended
			}
		}
	case own != nil:
		cfg.Key = *own
	default:
		return failure.Try(failure.Usagef("%s does not contain a key", filepath.Join(o.data, "identity", "checkpoint.pub")), "--key")
	}
	if cfg.From, err = openCheckpoints(o.from, cfg.Key); err != nil {
		return err
	}
	bar := newCountBar()
	cfg.Seen = bar.seen
	started := time.Now()
	r, err := verify.Ledger(ctx, cfg)
	bar.close()
	if err != nil {
		return err
	}
	if key != nil && own != nil && !cfg.Key.Holds(own.Newest()) {
		r.Findings = append(r.Findings, verify.Finding{Where: "identity/checkpoint.pub", What: "it is another key than the one given"})
	}
	return reportLedger(c.Printer(), r, cfg, key != nil, time.Since(started))
}

func reportLedger(p *output.Printer, r *verify.Report, cfg verify.Config, given bool, took time.Duration) error {
	var failed error
	if len(r.Findings) > 0 {
		failed = failure.With(failure.Unverified, fmt.Errorf("the ledger in %s %w: %s", cfg.Dir, proof.ErrInvalid, output.Count(len(r.Findings), "finding")))
	}
	if p.Format != output.Text {
		err := p.Object(struct {
			Verified    string           `json:"verified"`
			Ledger      string           `json:"ledger"`
			Tenants     int              `json:"tenants"`
			Messages    int              `json:"messages"`
			Commits     int              `json:"commits"`
			Checkpoints int              `json:"checkpoints"`
			Reads       int              `json:"reads"`
			ReadsBound  int              `json:"reads_bound"`
			Key         string           `json:"key"`
			Fingerprint string           `json:"fingerprint"`
			KeyGiven    bool             `json:"key_given"`
			Ahead       int              `json:"ahead"`
			FirstAhead  *verify.Finding  `json:"first_ahead,omitempty"`
			Findings    []verify.Finding `json:"findings"`
		}{"ledger", r.Epoch.String(), r.Tenants, r.Messages, r.Commits, r.Checkpoints, r.Reads, r.ReadsBound,
			cfg.Key.String(), cfg.Key.Fingerprint(), given, r.Ahead, r.FirstAhead, append([]verify.Finding{}, r.Findings...)})
		if err != nil {
			return err
		}
		return failed
	}
	if failed != nil {
		for _, f := range r.Findings {
			if err := p.Printf("%s  %s\n", output.Bad.Render("FAIL"), output.Plain(f.String())); err != nil {
				return err
			}
		}
		return failed
	}
	files := "tree and replica"
	if cfg.Restored {
		files = "as it was restored"
	}
	err := p.Printf("ledger %s is verified: %s of %s in %s, %s, %s; %s, %.0f commits/s\n",
		r.Epoch, output.Count(r.Commits, "commit"), output.Count(r.Tenants, "tenant"), output.Count(r.Messages, "message"),
		output.Count(r.Checkpoints, "checkpoint"), files, took.Round(time.Millisecond), float64(r.Commits)/took.Seconds())
	if err != nil {
		return err
	}
	if r.Reads > 0 {
		if err := p.Printf("%s, %d of them bound by the history\n", output.Count(r.Reads, "recorded read"), r.ReadsBound); err != nil {
			return err
		}
	}
	if r.FirstAhead != nil {
		if err := p.Printf("%s written while a clock was ahead; the first: %s\n", output.Count(r.Ahead, "commit"), output.Plain(r.FirstAhead.String())); err != nil {
			return err
		}
	}
	for _, old := range cfg.From {
		if err := p.Printf("it extends the checkpoint at %s\n", output.Count(int(old.Size), "commit")); err != nil {
			return err
		}
	}
	if given {
		return p.Printf("%s  %s\n", output.Faint.Render("key"), cfg.Key.Fingerprint())
	}
	return p.Printf("%s  %s\nThe key is the one in the folder. Anyone who can write there can also sign: compare its\nfingerprint with the one that you know, or pass --key.\n", output.Faint.Render("key"), cfg.Key.Fingerprint())
}

// countBar counts items without a known total on a terminal.
type countBar struct {
	mu  sync.Mutex // the bar is updated by several goroutines
	bar *progressbar.ProgressBar
}

func newCountBar() *countBar {
	b := &countBar{}
	if output.NewPrinter(os.Stderr, output.Text).Terminal() {
		b.bar = progressbar.NewOptions64(-1, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionClearOnFinish(),
			progressbar.OptionShowCount(), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetDescription("commits"))
	}
	return b
}

func (b *countBar) seen(commits int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar != nil {
		_ = b.bar.Add(commits) // one that cannot be drawn is no reason to stop
	}
}

func (b *countBar) close() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}
