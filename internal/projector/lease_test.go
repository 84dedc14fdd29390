package projector

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
)

// leaseOf returns a process's lease of a sink, with the records in the node's journal and
// the heartbeats on a connection.
func leaseOf(t *testing.T, node *ledgertest.Node, owner string, heartbeats *nats.Conn) *lease {
	t.Helper()
	bucket, err := node.Journal.OpenBucket(t.Context(), journal.Sinks)
	if err != nil {
		t.Fatal(err)
	}
	p := &Projector{cfg: Config{Conn: heartbeats, Log: slog.New(slog.DiscardHandler)}, bucket: bucket, owner: owner, host: owner}
	return &lease{p: p, sink: "store"}
}

// TestLease_HeartbeatsAreLost takes over the lease of a process whose heartbeats do not
// arrive, while it still reads its record and works.
func TestLease_HeartbeatsAreLost(t *testing.T) {
	node := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	elsewhere := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	first, second := leaseOf(t, node, "first", elsewhere.Conn), leaseOf(t, node, "second", node.Conn)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	works, ended := make(chan struct{}), make(chan struct{})
	running.Go(func() {
		err := first.hold(ctx, func(ctx context.Context) error {
			close(works)
			<-ctx.Done()
			close(ended)
			return ctx.Err()
		})
		if !errors.Is(err, errLost) {
			t.Errorf("the first process stops with %v, want %v", err, errLost)
		}
	})
	<-works
	err := second.hold(ctx, func(context.Context) error {
		select {
		case <-ended:
		default:
			t.Error("two processes work at once")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestLease_EndsBeforeItIsAlone ends a process that has taken a lease and does not work yet:
// the owner before may still work, so no other process may take the lease at once.
func TestLease_EndsBeforeItIsAlone(t *testing.T) {
	node := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	first, second := leaseOf(t, node, "first", node.Conn), leaseOf(t, node, "second", node.Conn)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := first.acquire(ctx); err != nil {
		t.Fatal(err)
	}
	if err := second.acquire(ctx); err != nil {
		t.Fatal(err)
	}
	second.release()
	found, err := second.p.bucket.Get(ctx, leaseName("store"))
	if err != nil {
		t.Fatal(err)
	}
	if is, err := decodeLease(found); err != nil || is.Owner != "second" {
		t.Errorf("the owner is %q, %v; want the record of the second process", is.GetOwner(), err)
	}
	first.release()
}
