package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/proof"
	"golang.org/x/mod/sumdb/tlog"
)

const checkpointStream = "STELE-CHECKPOINTS"

// readCheckpoints opens every checkpoint that was ever signed.
func (v *verifier) readCheckpoints(ctx context.Context) error {
	keys := v.cfg.Key
	handed, err := keys.First() // the keys, as far as the stream has handed over
	if err != nil {
		return err
	}
	_, err = v.evidence.AuxStream(ctx, journal.Checkpoints, func(name string, seq ledger.Sequence, body []byte) error {
		where := fmt.Sprintf("%s, message %d", checkpointStream, seq)
		if name == proof.KeysName {
			if string(body) != handed.Keys() {
				v.report.find(where, "its list of keys is not the one that the checkpoints before it lead to")
			}
			return nil
		}
		v.report.Checkpoints++
		c, err := proof.Open(string(body), keys)
		switch {
		case err != nil:
			v.report.find(where, "%v", err)
			return nil
		case name != proof.CheckpointName:
			v.report.find(where, "its name is %q, not %s", name, proof.CheckpointName)
			return nil
		}
		if n := len(v.checkpoints); n > 0 && (v.checkpoints[n-1].Size > c.Size || v.checkpoints[n-1].Size == c.Size && c.Successor == "") {
			v.report.find(where, "it states %d commits, and the one before it %d", c.Size, v.checkpoints[n-1].Size)
		}
		if c.Successor != "" {
			var errs [2]error
			keys, errs[0] = keys.Succeed(string(body))
			handed, errs[1] = handed.Succeed(string(body))
			if err := errors.Join(errs[:]...); err != nil {
				v.report.find(where, "%v", err)
			}
			c.Successor = ""
		}
		v.checkpoints = append(v.checkpoints, placed{c, seq})
		return nil
	})
	if err := v.evident(err); err != nil {
		return err
	}
	v.compareReleased()
	return nil
}

// compareReleased looks for the checkpoint that the tree's file remembers.
func (v *verifier) compareReleased() {
	t := v.tree
	if t == nil {
		return
	}
	if t.ReleasedAt == 0 {
		if t.Released.Size != 0 || t.Released.Root != (tlog.Hash{}) {
			v.report.find(treeFile, "it remembers a checkpoint at %d commits, and not where that is", t.Released.Size)
		}
		return
	}
	at := slices.IndexFunc(v.checkpoints, func(p placed) bool { return p.sequence == t.ReleasedAt })
	if at < 0 || v.checkpoints[at].Checkpoint != t.Released {
		v.report.find(checkpointStream, "message %d is not the checkpoint at %d commits that was signed and is remembered in %s", t.ReleasedAt, t.Released.Size, treeFile)
	}
}

// claims are the statements to compare the tree with, by size.
func (v *verifier) claims() []claim {
	out := slices.Clone(v.running)
	for _, p := range v.checkpoints {
		out = append(out, claim{p.Checkpoint, fmt.Sprintf("%s, message %d", checkpointStream, p.sequence)})
	}
	for _, c := range v.cfg.From {
		out = append(out, claim{c, "the checkpoint to start from"})
	}
	slices.SortStableFunc(out, func(a, b claim) int { return cmp.Compare(a.Size, b.Size) })
	return out
}
