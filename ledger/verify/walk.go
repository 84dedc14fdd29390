package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/journal"
	"github.com/stelehq/stele/ledger/proof"
	"golang.org/x/mod/sumdb/tlog"
)

// walk reads one shard from the first message to the last. One goroutine owns it.
type walk struct {
	shard, shards int
	epoch         ledger.Epoch
	replica       *replicated // nil without one
	tree          *proof.ShardWitness
	// claims about the tree that are still to be held to it, sizes ascending.
	claims []claim

	roots    proof.Roots
	tenants  map[ledger.Tenant]*history
	messages int
	ids      []ledger.CommitID // of one record
	stored   []tlog.Hash       // of one leaf
	// whole says that the walk came to its end.
	whole bool
}

// claim is a checkpoint that the tree must have had.
type claim struct {
	proof.Checkpoint
	// where it stands.
	where string
}

// history is what was read of a tenant.
type history struct {
	head ledger.Head
	// sum is over the messages of its commits, as far as the replica has them.
	sum uint64
}

// stopError ends a walk with what is wrong.
type stopError struct{ Finding }

func (e *stopError) Error() string { return e.String() }

// record checks a message.
func (w *walk) record(m journal.Message) error {
	w.messages++
	stop := func(rev ledger.Revision, format string, args ...any) error {
		return &stopError{Finding{
			Where: fmt.Sprintf("STELE-%d, message %d", w.shard, m.Sequence), Tenant: m.Tenant, Revision: rev, What: fmt.Sprintf(format, args...),
		}}
	}
	h := w.tenants[m.Tenant]
	if h == nil {
		if own := journal.ShardOf(m.Tenant, w.shards); own != w.shard {
			return stop(0, "the tenant belongs into shard %d", own)
		}
		h = &history{}
		w.tenants[m.Tenant] = h
	}
	first := h.head.Revision + 1
	w.ids = w.ids[:0]
	err := proof.Commits(m.Record, func(encoded []byte) error {
		c, err := proof.ReadHeader(encoded)
		next := h.head.Revision + 1
		switch {
		case err != nil:
			return stop(next, "it is %v", err)
		case c.Epoch != w.epoch:
			return stop(c.Revision, "it is of the ledger %s", c.Epoch)
		case c.Tenant != m.Tenant:
			return stop(c.Revision, "it is of %.80q, and on the subject of %s", string(c.Tenant), m.Tenant)
		case c.Revision != next:
			return stop(c.Revision, "it stands where %s must", next)
		case c.Parent != h.head.ID:
			return stop(c.Revision, "its parent is %s, and the commit before it is %s", c.Parent, h.head.ID)
		case c.Time < h.head.Time:
			return stop(c.Revision, "its time %s is before its parent's", time.Unix(0, c.Time).UTC().Format(time.RFC3339Nano))
		}
		h.head = ledger.Head{Revision: c.Revision, ID: ledger.IDOf(encoded), Time: c.Time, Sequence: m.Sequence}
		w.ids = append(w.ids, h.head.ID)
		if w.replica != nil {
			if what := w.replica.commit(m.Tenant, h, m.Shard); what != "" {
				return &stopError{Finding{replicaFile, m.Tenant, c.Revision, what}}
			}
		}
		return w.leaf(h.head.ID)
	})
	switch {
	case err != nil:
		var known *stopError
		if !errors.As(err, &known) {
			err = stop(first, "it is %v", err)
		}
		return err
	case len(w.ids) == 0:
		return stop(first, "it holds no commit")
	case w.tree == nil:
		return nil
	}
	if err := w.tree.Record(m.Sequence, m.Tenant, first, w.ids); err != nil {
		return &stopError{Finding{treeFile, m.Tenant, first, err.Error()}}
	}
	return nil
}

// leaf adds a commit to the tree, and holds the tree to what was claimed of it.
func (w *walk) leaf(id ledger.CommitID) error {
	w.stored = w.roots.Add([32]byte(id), w.stored[:0])
	for len(w.claims) > 0 && w.claims[0].Size == w.roots.Size() {
		c := w.claims[0]
		if root := w.roots.Root(); root != c.Root {
			return &stopError{Finding{Where: c.where, What: fmt.Sprintf("it says that the root of the first %d commits of shard %d is %s, and it is %s", c.Size, w.shard, c.Root, root)}}
		}
		w.claims = w.claims[1:]
	}
	return nil
}

// end checks what was claimed of more than there is.
func (w *walk) end(last ledger.Sequence) []Finding {
	var out []Finding
	for _, c := range w.claims {
		if c.Size != 0 { // of an empty tree there is one only
			out = append(out, Finding{Where: c.where, What: fmt.Sprintf("it states %d commits of shard %d, and the journal has %d: the journal was cut", c.Size, w.shard, w.roots.Size())})
		} else if c.Root != new(proof.Roots).Root() {
			out = append(out, Finding{Where: c.where, What: "it states a root of no commits"})
		}
	}
	if w.tree != nil && w.tree.Position > last {
		out = append(out, Finding{Where: treeFile, What: fmt.Sprintf("it has seen message %d of shard %d, and the journal ends at %d: the journal was cut", w.tree.Position, w.shard, last)})
	}
	if w.replica != nil && w.replica.Positions[w.shard] > last {
		out = append(out, Finding{Where: replicaFile, What: fmt.Sprintf("it has seen message %d of shard %d, and the journal ends at %d: the journal was cut", w.replica.Positions[w.shard], w.shard, last)})
	}
	return out
}

func (v *verifier) newWalk(shard int) *walk {
	w := &walk{shard: shard, shards: v.evidence.Shards, epoch: v.evidence.Epoch, replica: v.replica, tenants: make(map[ledger.Tenant]*history)}
	if v.tree != nil {
		w.tree = v.tree.Shards[shard]
	}
	w.claims = v.claims(shard)
	return w
}

func (v *verifier) walkShard(ctx context.Context, w *walk) error {
	const often = 1 << 12
	counted := int64(0)
	last, err := v.evidence.Shard(ctx, w.shard, func(m journal.Message) error {
		if w.messages%often == 0 {
			v.cfg.Seen(int(w.roots.Size() - counted))
			counted = w.roots.Size()
		}
		return w.record(m)
	})
	var stop *stopError
	if errors.As(err, &stop) {
		v.report.add(stop.Finding)
		return nil
	}
	if err != nil {
		return v.evident(err)
	}
	for _, f := range w.end(last) {
		v.report.add(f)
	}
	w.whole = true
	return nil
}
