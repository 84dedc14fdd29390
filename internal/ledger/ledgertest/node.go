// Package ledgertest starts real ledgers for tests: an embedded NATS server that
// syncs every write, a journal, a replica and a ledger, in a test's folder.
package ledgertest

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// Server is an embedded NATS server in a folder of its own.
func Server(tb testing.TB) *journal.Server {
	tb.Helper()
	s, err := journal.StartServer(journal.ServerConfig{Dir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// Node is one process of a ledger.
type Node struct {
	Conn    *nats.Conn
	Journal *journal.Journal
	Replica *replica.Replica
	Ledger  *ledger.Ledger
}

// Config defines how a node differs from the usual.
type Config struct {
	// Dir holds the replica; a test's own folder by default.
	Dir string
	// Tenants that the replica holds; all by default.
	Tenants []ledger.Tenant
	// Clock of the process; the right one by default.
	Clock *Clock
	// Wrap, if set, wraps the ledger's journal.
	Wrap func(ledger.Journal) ledger.Journal
}

// Start starts a node on the server. The test's end closes it.
func Start(tb testing.TB, s *journal.Server, cfg Config) *Node {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if cfg.Dir == "" {
		cfg.Dir = tb.TempDir()
	}
	nc, err := s.Connect()
	if err != nil {
		tb.Fatal(err)
	}
	if cfg.Clock == nil {
		cfg.Clock = new(Clock)
	}
	n := &Node{Conn: nc}
	tb.Cleanup(n.Close)
	if n.Journal, err = journal.Open(ctx, nc, journal.Config{Embedded: s, Now: cfg.Clock.Now}); err != nil {
		tb.Fatal(err)
	}
	if n.Replica, err = replica.Open(replica.Config{Path: filepath.Join(cfg.Dir, "replica.db"), Tenants: cfg.Tenants}); err != nil {
		tb.Fatal(err)
	}
	if err := n.Replica.Follow(n.Journal); err != nil {
		tb.Fatal(err)
	}
	var j ledger.Journal = n.Journal
	if cfg.Wrap != nil {
		j = cfg.Wrap(j)
	}
	n.Ledger = ledger.New(ledger.Config{Journal: j, Replica: n.Replica})
	for !n.Replica.Ready() {
		select {
		case <-ctx.Done():
			tb.Fatal("the replica did not become ready")
		case <-time.After(time.Millisecond):
		}
	}
	return n
}

// Close stops the node; the server keeps running.
func (n *Node) Close() {
	if n.Ledger != nil {
		n.Ledger.Close()
	}
	if n.Replica != nil {
		n.Replica.Close()
	}
	if n.Journal != nil {
		n.Journal.Close()
	}
	n.Conn.Close()
}
