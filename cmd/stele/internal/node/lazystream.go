package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/secret"
)

// lazyStream is an auxiliary stream, which is opened, and created if it does not exist, when it
// is first used.
type lazyStream[Stream any] struct {
	mu     sync.Mutex // guards the fields below
	stream *Stream    // nil until it is open
	failed error      // why it was not, at the last try
	tried  time.Time
}

// open returns the stream. After a failure, callers get the same one for a
// while, so that they do not queue up to wait for a server that does not answer.
func (b *lazyStream[Stream]) open(what journal.AuxKind, open func(context.Context, journal.AuxKind) (*Stream, error)) (*Stream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stream == nil && time.Since(b.tried) > retryAfter {
		ctx, cancel := context.WithTimeout(context.Background(), attachTimeout) // not the caller's: others wait as well
		b.stream, b.failed = open(ctx, what)
		cancel()
		b.tried = time.Now()
	}
	if b.stream == nil {
		return nil, fmt.Errorf("%w: open an auxiliary stream: %w", ledger.ErrUnavailable, b.failed)
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
	return a.reads.open(journal.Reads, a.journal.OpenAuxStream)
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
	return a.keys.open(journal.Keys, a.journal.OpenBucket)
}
