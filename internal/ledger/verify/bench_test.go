package verify

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// BenchmarkWalk is what a core does for each commit: take its record apart, hash
// it, check its chain and grow the tree.
func BenchmarkWalk(b *testing.B) {
	const tenants, commits = 100, 20_000
	epoch := ledger.Epoch{1, 2, 3}
	heads := make(map[ledger.Tenant]ledger.Head)
	messages := make([]journal.Message, commits)
	for i := range messages {
		t := ledger.Tenant(fmt.Sprint("tenant-", i%tenants))
		head := heads[t]
		c := &stelev1.Commit{
			Epoch: epoch[:], Tenant: string(t), Revision: uint64(head.Revision) + 1, Time: &timestamppb.Timestamp{Seconds: int64(i)},
			Author: "ann@example.org", Message: "Give checkout more time", RequestId: fmt.Sprintf("0192f3a4-%08x", i),
			Changes: []*stelev1.Change{{Key: "tenantconfig/checkout/timeout_ms", Value: `"` + strings.Repeat("x", 100) + `"`}},
		}
		if head.Revision > 0 {
			c.Parent = head.ID[:]
		}
		encoded, err := proto.Marshal(c)
		if err != nil {
			b.Fatal(err)
		}
		record, err := proto.Marshal(&stelev1.Record{Commits: [][]byte{encoded}})
		if err != nil {
			b.Fatal(err)
		}
		heads[t] = ledger.Head{Revision: head.Revision + 1, ID: ledger.IDOf(encoded)}
		messages[i] = journal.Message{Sequence: ledger.Sequence(i + 1), Record: record}
	}
	b.ReportAllocs()
	for b.Loop() {
		w := &walk{epoch: epoch, tenants: make(map[ledger.Tenant]*history)}
		for _, m := range messages {
			if err := w.record(m); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(commits*float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}
