package auditor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stelehq/stele/internal/durable"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// compareSeen compares a checkpoint with the newest one that was seen of the ledger, at any
// gateway, and remembers the newer of the two. The gateway gets the one that was seen before,
// and compares it with its own tree: of two gateways that show different histories, both
// the user and the honest one learn about the other.
func (a *Auditor) compareSeen(ctx context.Context, c Checkpoint) error {
	if a.Seen == "" {
		return nil
	}
	path := filepath.Join(a.Seen, c.Epoch.String())
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return a.remember(path, c)
	}
	if err != nil {
		return fmt.Errorf("read the newest checkpoint that was seen: %w", err)
	}
	old, err := proof.Open(string(text), c.Key.Require(proof.Witnesses{}))
	if err == nil && old.Size <= c.Size {
		err = a.Extends(ctx, old, c)
	}
	if err == nil || errors.Is(err, proof.ErrInvalid) {
		_, splitErr := a.Proof.GetCheckpoint(ctx, &stelev1.GetCheckpointRequest{Seen: string(text)})
		err = errors.Join(err, splitView(splitErr))
	}
	if err != nil {
		return fmt.Errorf("compare with the newest checkpoint that was seen of this ledger, in %s (keep it as evidence; remove it only if you know why the ledger's history changed): %w", path, err)
	}
	if old.Size < c.Size {
		return a.remember(path, c)
	}
	return nil
}

// splitView makes the gateway's report of a split view an error of what does not verify.
func splitView(err error) error {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Reason == "SPLIT_VIEW" {
			return invalid(err)
		}
	}
	return err
}

func (a *Auditor) remember(path string, c Checkpoint) error {
	if err := os.MkdirAll(a.Seen, 0o700); err != nil {
		return fmt.Errorf("keep the checkpoint: %w", err)
	}
	if err := durable.Replace(path, []byte(c.Signed)); err != nil {
		return fmt.Errorf("keep the checkpoint: %w", err)
	}
	return nil
}
