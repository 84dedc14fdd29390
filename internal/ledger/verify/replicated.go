package verify

import (
	"context"
	"fmt"
	"hash/maphash"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// replicated is the content of a replica's file. Once filled, it is only read.
type replicated struct {
	*replica.Content
	// sums are over the messages that each tenant's commits are said to be in.
	sums map[ledger.Tenant]uint64
}

type replicaResult struct {
	replicated
	err error
}

func readReplica(ctx context.Context, path string) replicaResult {
	r := replicaResult{replicated: replicated{sums: make(map[ledger.Tenant]uint64)}}
	r.Content, r.err = replica.Verify(ctx, path, r.visit)
	return r
}

// seed is random, so that an attacker cannot construct two histories with one sum.
var seed = maphash.MakeSeed()

func addSequence(sum uint64, seq ledger.Sequence) uint64 {
	return maphash.Comparable(seed, [2]uint64{sum, uint64(seq)})
}

func (r *replicated) visit(t ledger.Tenant, _ ledger.Revision, seq ledger.Sequence) {
	r.sums[t] = addSequence(r.sums[t], seq)
}

// commit compares the journal's newest commit of a tenant with the replica, which may
// be further than its position says, and describes a difference.
func (r *replicated) commit(t ledger.Tenant, h *history) string {
	head := r.Heads[t]
	if h.head.Revision > head.Revision {
		if h.head.Sequence <= r.Position {
			return fmt.Sprintf("it says that it has followed the journal to message %d, and has only %s", r.Position, head.Revision)
		}
		return ""
	}
	h.sum = addSequence(h.sum, h.head.Sequence)
	if h.head.Revision == head.Revision && (h.head != head || h.sum != r.sums[t]) {
		return fmt.Sprintf("its commit is %s, or in another message, and the journal's is %s", head.ID, h.head.ID)
	}
	return ""
}

// compare looks for tenants and commits that the journal does not have.
func (r *replicated) compare(report *Report, w *walk) {
	for t, head := range r.Heads {
		var last ledger.Revision
		if h := w.tenants[t]; h != nil {
			last = h.head.Revision
		}
		if last < head.Revision {
			report.add(Finding{replicaFile, t, head.Revision, fmt.Sprintf("the journal has only %s", last)})
		}
	}
}
