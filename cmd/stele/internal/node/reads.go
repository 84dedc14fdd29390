package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stelehq/stele/gateway"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/journal"
)

// readLog is the stream of recorded reads. It is opened, and made where there is
// none, when a read is first recorded or asked for: most ledgers never do.
type readLog struct {
	mu     sync.Mutex    // guards the fields below
	side   *journal.Side // nil until it is open
	failed error         // why it was not, at the last try
	tried  time.Time
}

// open returns the stream. After a failure, callers get the same one for a
// while, so that they do not queue up to wait for a server that does not answer.
func (l *readLog) open(j *journal.Journal) (gateway.ReadLog, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.side == nil && time.Since(l.tried) > retryAfter {
		ctx, cancel := context.WithTimeout(context.Background(), attachTimeout) // not the caller's: others wait, too
		l.side, l.failed = j.OpenSide(ctx, journal.Reads)
		cancel()
		l.tried = time.Now()
	}
	if l.side == nil {
		return nil, fmt.Errorf("%w: open the recorded reads: %w", ledger.ErrUnavailable, l.failed)
	}
	return l.side, nil
}

// readLog is the gateway's way to the recorded reads.
func (n *Node) readLog() (gateway.ReadLog, error) {
	a := n.attached.Load()
	if a == nil {
		return nil, errNotReached
	}
	return a.reads.open(a.journal)
}
