package verify

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const benchCommits = 20_000

// benchMessages are messages of one commit each, of 100 tenants.
func benchMessages(b *testing.B, epoch ledger.Epoch) []journal.Message {
	b.Helper()
	const tenants = 100
	heads := make(map[ledger.Tenant]ledger.Head)
	messages := make([]journal.Message, benchCommits)
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
	return messages
}

// BenchmarkWalk is what a core does for each commit: take its record apart, hash
// it, check its chain and grow the tree.
func BenchmarkWalk(b *testing.B) {
	epoch := ledger.Epoch{1, 2, 3}
	messages := benchMessages(b, epoch)
	b.ReportAllocs()
	for b.Loop() {
		w := &walk{epoch: epoch, tenants: make(map[ledger.Tenant]*history)}
		for _, m := range messages {
			if err := w.record(m); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(benchCommits*float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

// BenchmarkBackup is what a backup takes in addition to writing it.
func BenchmarkBackup(b *testing.B) {
	s, err := journal.StartServer(journal.ServerConfig{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	nc, err := s.Connect()
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	j, err := journal.Open(b.Context(), nc, journal.Config{Embedded: s})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	for i, m := range benchMessages(b, j.Epoch()) {
		if _, err := j.Append(b.Context(), ledger.Sequence(i), m.Record); err != nil {
			b.Fatal(err)
		}
	}
	_, err = journal.TakeBackup(b.Context(), nc, filepath.Join(b.TempDir(), "backup"), func(ctx context.Context, r *journal.BackupReader) error {
		for b.Loop() {
			report, err := Backup(ctx, r, nil)
			if err != nil || len(report.Findings) > 0 || report.Commits != benchCommits {
				return fmt.Errorf("it reports %+v: %w", report, err)
			}
		}
		b.ReportMetric(benchCommits*float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
