package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/proof"
	"golang.org/x/mod/sumdb/tlog"
)

// walk reads the journal from the first message to the last. One goroutine owns it.
type walk struct {
	epoch   ledger.Epoch
	replica *replicated   // nil without one
	tree    *proof.Stored // nil without one
	// claims about the tree that are not checked against it yet, by ascending size.
	claims []claim

	roots    proof.Roots
	tenants  map[ledger.Tenant]*history
	messages int
	run      run
	stored   []tlog.Hash // of one leaf
	// bound are the digests of recorded reads that commits state.
	bound []boundReads
	// ahead are the commits that are later than their messages.
	ahead      int
	firstAhead *Finding
	// whole is set if the walk came to its end.
	whole bool
}

// claim is a checkpoint that the tree must have had.
type claim struct {
	proof.Checkpoint
	// its position.
	where string
}

// history is the part of a tenant's history that was read.
type history struct {
	head ledger.Head
	// sum is over the messages of its commits, as far as the replica has them.
	sum uint64
}

// stopError ends a walk with a finding.
type stopError struct{ Finding }

func (e *stopError) Error() string { return e.String() }

// run is the commits of one tenant that stand next to each other in a message.
type run struct {
	tenant ledger.Tenant
	first  ledger.Revision
	ids    []ledger.CommitID
}

// record checks a message.
func (w *walk) record(m journal.Message) error {
	w.messages++
	w.run.ids = w.run.ids[:0]
	commits := 0
	err := proof.Commits(m.Record, func(encoded []byte) error {
		commits++
		return w.commit(m, commits, encoded)
	})
	switch {
	case err != nil:
		var known *stopError
		if !errors.As(err, &known) {
			err = stopAt(m, "", 0, "it is %v", err)
		}
		return err
	case commits == 0:
		return stopAt(m, "", 0, "it holds no commit")
	}
	if err := w.endRun(m.Sequence); err != nil {
		return err
	}
	if w.tree == nil {
		return nil
	}
	if err := w.tree.End(m.Sequence); err != nil {
		return &stopError{Finding{Where: treeFile, What: err.Error()}}
	}
	return nil
}

// stopAt ends the walk with a finding in a message.
func stopAt(m journal.Message, t ledger.Tenant, rev ledger.Revision, format string, args ...any) error {
	return &stopError{Finding{
		Where: fmt.Sprintf("STELE, message %d", m.Sequence), Tenant: t, Revision: rev, What: fmt.Sprintf(format, args...),
	}}
}

// commit checks the nth commit of a message.
func (w *walk) commit(m journal.Message, n int, encoded []byte) error {
	c, err := proof.ReadHeader(encoded)
	if err != nil {
		return stopAt(m, "", 0, "commit %d of it: %v", n, err)
	}
	h := w.tenants[c.Tenant]
	if h == nil {
		t, err := ledger.ParseTenant(string(c.Tenant))
		if err != nil {
			return stopAt(m, "", 0, "commit %d of it: %v", n, err)
		}
		h = &history{}
		w.tenants[t] = h
	}
	if err := w.follows(m, c, h.head); err != nil {
		return err
	}
	if err := w.continueRun(m, c, h.head); err != nil {
		return err
	}
	w.compareStamp(m, c)
	if c.Tenant == ledger.System {
		if err := w.readsBound(encoded); err != nil {
			return stopAt(m, c.Tenant, c.Revision, "%v", err)
		}
	}
	h.head = ledger.Head{Revision: c.Revision, ID: ledger.IDOf(encoded), Time: c.Time, Sequence: m.Sequence}
	w.run.ids = append(w.run.ids, h.head.ID)
	if w.replica != nil {
		if what := w.replica.commit(c.Tenant, h); what != "" {
			return &stopError{Finding{replicaFile, c.Tenant, c.Revision, what}}
		}
	}
	return w.leaf(h.head.ID)
}

// follows checks that a commit continues its tenant's history.
func (w *walk) follows(m journal.Message, c proof.Header, head ledger.Head) error {
	switch {
	case c.Epoch != w.epoch:
		return stopAt(m, c.Tenant, c.Revision, "it is of the ledger %s", c.Epoch)
	case c.Revision != head.Revision+1:
		return stopAt(m, c.Tenant, c.Revision, "it stands where %s must", head.Revision+1)
	case c.Parent != head.ID:
		return stopAt(m, c.Tenant, c.Revision, "its parent is %s, and the commit before it is %s", c.Parent, head.ID)
	case c.Time < head.Time && !c.ResetsClock:
		return stopAt(m, c.Tenant, c.Revision, "its time %s is before its parent's", time.Unix(0, c.Time).UTC().Format(time.RFC3339Nano))
	}
	return nil
}

// continueRun begins a run if a commit is of another tenant than the one before it in its message.
func (w *walk) continueRun(m journal.Message, c proof.Header, head ledger.Head) error {
	if len(w.run.ids) > 0 && w.run.tenant == c.Tenant {
		return nil
	}
	if head.Sequence == m.Sequence {
		return stopAt(m, c.Tenant, c.Revision, "its message holds the tenant's commits in two places")
	}
	if err := w.endRun(m.Sequence); err != nil {
		return err
	}
	w.run.tenant, w.run.first = c.Tenant, c.Revision
	return nil
}

// compareStamp counts a commit that is later than its message.
func (w *walk) compareStamp(m journal.Message, c proof.Header) {
	if time.Unix(0, c.Time).Sub(m.Time) <= ledger.ClockBound {
		return
	}
	w.ahead++
	if w.firstAhead == nil {
		w.firstAhead = &Finding{
			Where: fmt.Sprintf("STELE, message %d", m.Sequence), Tenant: c.Tenant, Revision: c.Revision,
			What: fmt.Sprintf("its time is %s, and the journal stored it at %s", time.Unix(0, c.Time).UTC().Format(time.RFC3339), m.Time.UTC().Format(time.RFC3339)),
		}
	}
}

// endRun compares the run with the tree's file.
func (w *walk) endRun(seq ledger.Sequence) error {
	r := &w.run
	if w.tree != nil && len(r.ids) > 0 {
		if err := w.tree.Run(seq, r.tenant, r.first, r.ids); err != nil {
			return &stopError{Finding{treeFile, r.tenant, r.first, err.Error()}}
		}
	}
	r.ids = r.ids[:0]
	return nil
}

// leaf adds a commit to the tree, and compares the tree with the claims about its size.
func (w *walk) leaf(id ledger.CommitID) error {
	w.stored = w.roots.Add([32]byte(id), w.stored[:0])
	for len(w.claims) > 0 && w.claims[0].Size == w.roots.Size() {
		c := w.claims[0]
		if root := w.roots.Root(); root != c.Root {
			return &stopError{Finding{Where: c.where, What: fmt.Sprintf("it says that the root of the first %d commits is %s, and it is %s", c.Size, c.Root, root)}}
		}
		w.claims = w.claims[1:]
	}
	return nil
}

// end checks the claims about sizes beyond the end of the journal.
func (w *walk) end(last ledger.Sequence) []Finding {
	var out []Finding
	for _, c := range w.claims {
		if c.Size != 0 { // of an empty tree there is one only
			out = append(out, Finding{Where: c.where, What: fmt.Sprintf("it states %d commits, and the journal has %d: the journal was cut", c.Size, w.roots.Size())})
		} else if c.Root != new(proof.Roots).Root() {
			out = append(out, Finding{Where: c.where, What: "it states a root of no commits"})
		}
	}
	if w.tree != nil && w.tree.Position > last {
		out = append(out, Finding{Where: treeFile, What: fmt.Sprintf("it has seen message %d, and the journal ends at %d: the journal was cut", w.tree.Position, last)})
	}
	if w.replica != nil && w.replica.Position > last {
		out = append(out, Finding{Where: replicaFile, What: fmt.Sprintf("it has seen message %d, and the journal ends at %d: the journal was cut", w.replica.Position, last)})
	}
	return out
}

func (v *verifier) newWalk() *walk {
	return &walk{epoch: v.report.Epoch, replica: v.replica, tree: v.tree, claims: v.claims(), tenants: make(map[ledger.Tenant]*history)}
}

func (v *verifier) walkJournal(ctx context.Context, w *walk) error {
	const often = 1 << 12
	counted := int64(0)
	last, err := v.evidence.Journal(ctx, func(m journal.Message) error {
		if w.roots.Size()-counted >= often {
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
