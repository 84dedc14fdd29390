package ledgertest

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// CommitAt appends a commit with a time of its own to the tenant, past the ledger's checks, as a
// process whose clock is wrong would have written it. It sets the key "app/clock".
func CommitAt(tb testing.TB, n *Node, t ledger.Tenant, at time.Time) *ledger.Commit {
	tb.Helper()
	head, epoch := n.Replica.Head(t), n.Journal.Epoch()
	p := &stelev1.Commit{
		Epoch: epoch[:], Tenant: string(t), Revision: uint64(head.Revision) + 1, Time: timestamppb.New(at), Author: "clock", Message: "written at a wrong time",
		Changes: []*stelev1.Change{{Key: "app/clock", Value: at.Format(`"` + time.RFC3339Nano + `"`)}},
	}
	if head.Revision > 0 {
		p.Parent = head.ID[:]
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := ledger.DecodeCommit(encoded)
	if err != nil {
		tb.Fatal(err)
	}
	record := append(ledger.AppendRecordItem(nil, len(encoded)), encoded...)
	seq, err := n.Journal.Append(tb.Context(), n.Replica.Position(), record)
	if err != nil {
		tb.Fatal(err)
	}
	if err := n.Replica.WaitPosition(tb.Context(), seq); err != nil {
		tb.Fatal(err)
	}
	return c
}

// Clock is a process's clock that a test sets. The zero Clock is right.
type Clock struct{ off atomic.Int64 }

// Jump sets how far the clock is ahead of the real time.
func (c *Clock) Jump(ahead time.Duration) { c.off.Store(int64(ahead)) }

// Now is the time that the clock shows.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.off.Load())) }
