package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stelehq/stele/gateway/policy"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/journal"
	"github.com/stelehq/stele/ledger/secret"
)

// beside is a stream beside the journal that most ledgers never need. It is opened,
// and made where there is none, when it is first asked for.
type beside[Stream any] struct {
	mu     sync.Mutex // guards the fields below
	stream *Stream    // nil until it is open
	failed error      // why it was not, at the last try
	tried  time.Time
}

// open returns the stream. After a failure, callers get the same one for a
// while, so that they do not queue up to wait for a server that does not answer.
func (b *beside[Stream]) open(what journal.SideKind, open func(context.Context, journal.SideKind) (*Stream, error)) (*Stream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stream == nil && time.Since(b.tried) > retryAfter {
		ctx, cancel := context.WithTimeout(context.Background(), attachTimeout) // not the caller's: others wait, too
		b.stream, b.failed = open(ctx, what)
		cancel()
		b.tried = time.Now()
	}
	if b.stream == nil {
		return nil, fmt.Errorf("%w: open what is kept beside the journal: %w", ledger.ErrUnavailable, b.failed)
	}
	return b.stream, nil
}

// readLog is the gateway's way to the recorded reads.
func (n *Node) readLog() (policy.ReadLog, error) {
	if n.upstream != nil {
		return edgeReads{n.upstream}, nil
	}
	a := n.attached.Load()
	if a == nil {
		return nil, errNotReached
	}
	return a.reads.open(journal.Reads, a.journal.OpenSide)
}

// keys is the keyring's way to the tenants' keys.
func (n *Node) keys() (secret.Keys, error) {
	if n.upstream != nil {
		return nil, errEdge
	}
	a := n.attached.Load()
	if a == nil {
		return nil, errNotReached
	}
	return a.keys.open(journal.Keys, a.journal.OpenNotes)
}
