package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/proof"
)

// Backup verifies that a backup which was just written is whole: no message is missing,
// every tenant's commits are one chain, the tree of all commits has the roots that the
// checkpoints in the backup state, and the recorded reads have the digests that commits
// state. If seen is not nil, the backup must also contain everything that a running process
// had seen before it was taken: the commits of its tree, and the newest checkpoint. Backup
// looks for accidents: without a key it does not verify signatures.
func Backup(ctx context.Context, b *journal.BackupReader, seen *Seen) (*Report, error) {
	v := &verifier{cfg: Config{Seen: func(int) {}}, report: &Report{Epoch: b.Epoch}, evidence: b}
	_, err := b.AuxStream(ctx, journal.Checkpoints, v.stated)
	var missing *journal.EvidenceError
	if errors.As(err, &missing) && missing.Missing {
		err = nil // none was signed yet
	}
	if err := v.evident(err); err != nil {
		return nil, err
	}
	if seen != nil {
		v.compareSeen(seen)
	}
	if err := v.run(ctx); err != nil {
		return nil, err
	}
	return v.report, nil
}

// compareSeen looks for the newest checkpoint, and notes what the tree must be.
func (v *verifier) compareSeen(s *Seen) {
	v.running = []claim{{s.Tree, "the tree of the running ledger"}}
	if s.Newest.Size == 0 {
		return
	}
	v.running = append(v.running, claim{s.Newest, "the newest checkpoint of the running ledger"})
	covered := slices.ContainsFunc(v.checkpoints, func(p placed) bool { return p.Size >= s.Newest.Size })
	if !covered {
		v.report.find(checkpointStream, "the newest checkpoint, of %d commits, is missing", s.Newest.Size)
	}
}

// stated notes what a checkpoint states.
func (v *verifier) stated(name string, seq ledger.Sequence, body []byte) error {
	if name == proof.KeysName {
		return nil
	}
	v.report.Checkpoints++
	c, err := proof.ParseCheckpoint(string(body))
	if err != nil {
		v.report.find(fmt.Sprintf("%s, message %d", checkpointStream, seq), "%v", err)
		return nil
	}
	v.checkpoints = append(v.checkpoints, placed{c, seq})
	return nil
}
