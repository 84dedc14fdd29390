package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/journal"
	"github.com/stelehq/stele/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"
)

const checkpointStream = "STELE-CHECKPOINTS"

// readCheckpoints opens every checkpoint that was ever signed.
func (v *verifier) readCheckpoints(ctx context.Context) error {
	v.checkpoints = make(map[int][]placed)
	_, err := v.evidence.Side(ctx, journal.Checkpoints, func(name string, seq ledger.Sequence, body []byte) error {
		v.report.Checkpoints++
		where := fmt.Sprintf("%s, message %d", checkpointStream, seq)
		c, err := proof.Open(string(body), v.cfg.Key)
		before := v.checkpoints[c.Shard]
		switch {
		case err != nil:
			v.report.find(where, "%v", err)
			return nil
		case name != strconv.Itoa(c.Shard) || c.Shard >= v.evidence.Shards:
			v.report.find(where, "a checkpoint of shard %d is in the place of one of shard %s", c.Shard, name)
			return nil
		case len(before) > 0 && before[len(before)-1].Size >= c.Size:
			v.report.find(where, "it states %d commits of shard %d, and the one before it %d", c.Size, c.Shard, before[len(before)-1].Size)
		}
		v.checkpoints[c.Shard] = append(before, placed{c, seq})
		return nil
	})
	if err := v.evident(err); err != nil {
		return err
	}
	v.compareReleased()
	return nil
}

// compareReleased looks for the checkpoints that the tree's file remembers.
func (v *verifier) compareReleased() {
	if v.tree == nil {
		return
	}
	for shard, s := range v.tree.Shards {
		if s.ReleasedAt == 0 {
			if s.Released.Size != 0 || s.Released.Root != (tlog.Hash{}) {
				v.report.find(treeFile, "it remembers a checkpoint of shard %d at %d commits, and not where that is", shard, s.Released.Size)
			}
			continue
		}
		at := slices.IndexFunc(v.checkpoints[shard], func(p placed) bool { return p.sequence == s.ReleasedAt })
		if at < 0 || v.checkpoints[shard][at].Checkpoint != s.Released {
			v.report.find(checkpointStream, "message %d is not the checkpoint of shard %d at %d commits that was signed and is remembered in %s", s.ReleasedAt, shard, s.Released.Size, treeFile)
		}
	}
}

// claims are what the tree of a shard is held to, by size.
func (v *verifier) claims(shard int) []claim {
	var out []claim
	for _, p := range v.checkpoints[shard] {
		out = append(out, claim{p.Checkpoint, fmt.Sprintf("%s, message %d", checkpointStream, p.sequence)})
	}
	for _, c := range v.cfg.From {
		if c.Shard == shard {
			out = append(out, claim{c, "the checkpoint to start from"})
		}
	}
	slices.SortStableFunc(out, func(a, b claim) int { return cmp.Compare(a.Size, b.Size) })
	return out
}

// readReads reads the recorded reads, where there are any: they are not signed,
// but none may be missing between others.
func (v *verifier) readReads(ctx context.Context) error {
	_, err := v.evidence.Side(ctx, journal.Reads, func(name string, seq ledger.Sequence, body []byte) error {
		v.report.Reads++
		var r stelev1.ReadRecord
		if err := proto.Unmarshal(body, &r); err != nil || r.Tenant != name {
			v.report.find(fmt.Sprintf("STELE-READS, message %d", seq), "it is no record of a read of %s", name)
		}
		return nil
	})
	var missing *journal.EvidenceError
	if errors.As(err, &missing) && missing.Missing {
		return nil // nobody has asked for any
	}
	return v.evident(err)
}
