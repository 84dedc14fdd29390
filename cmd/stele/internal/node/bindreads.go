package node

import (
	"context"
	"time"

	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/readlog"
)

// bindInterval is the time between two looks for recorded reads that no digest covers,
// and bindAge the least time between two digests of all processes.
var (
	bindInterval = time.Minute
	bindAge      = 10 * time.Minute
)

// bindReads commits digests of the recorded reads until ctx ends.
func (n *Node) bindReads(ctx context.Context) {
	tick := time.NewTicker(bindInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a := n.attached.Load()
		if a == nil {
			continue
		}
		stream, err := a.reads.open(journal.Reads, a.journal.OpenAuxStream)
		if err == nil {
			err = readlog.Bind(ctx, n.replica, stream, a.ledger, bindAge)
		}
		if err != nil && ctx.Err() == nil {
			n.cfg.Log.Error("cannot bind the recorded reads to the history; trying again", "error", err)
		}
	}
}
