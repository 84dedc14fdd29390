package proof

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"
)

// benchTree is a file, and makes records for it, a commit each.
type benchTree struct {
	*store
	heads map[ledger.Tenant]head
	size  int
}

func newBenchTree(b *testing.B) *benchTree {
	b.Helper()
	s, err := openStore(filepath.Join(b.TempDir(), "tree.db"), &ledger.Epoch{1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.close() })
	return &benchTree{store: s, heads: make(map[ledger.Tenant]head)}
}

func (t *benchTree) records(n int) []record {
	out := make([]record, n)
	for i := range out {
		t.size++
		tenant := ledger.Tenant(fmt.Sprintf("tenant-%d", t.size*7919%1000))
		h := t.heads[tenant]
		leaf := tlog.Hash(sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(t.size))))
		out[i] = record{ledger.Sequence(t.size), []run{{tenant, h.revision + 1, ledger.CommitID(h.id), []tlog.Hash{leaf}}}}
		t.heads[tenant] = head{h.revision + 1, leaf}
	}
	return out
}

// The time and bytes of one commit, in the batches of a tree that catches up, and in a
// tree with a thousand per second.
func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{batchCommits, 1000} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			t := newBenchTree(b)
			for left := b.N; left > 0; left -= batch {
				b.StopTimer()
				records := t.records(min(batch, left))
				b.StartTimer()
				if err := t.append(records); err != nil {
					b.Fatal(err)
				}
			}
			_ = t.view(func(tx *bolt.Tx) error {
				b.ReportMetric(float64(tx.Size())/float64(b.N), "file-B/op")
				return nil
			})
		})
	}
}

// A proof from a tree of a million commits.
func BenchmarkProof(b *testing.B) {
	t := newBenchTree(b)
	const size = 1_000_000
	for t.size < size {
		if err := t.append(t.records(batchCommits)); err != nil {
			b.Fatal(err)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	prove := func(b *testing.B, one func(tx *bolt.Tx) error) {
		for b.Loop() {
			if err := t.view(one); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("inclusion", func(b *testing.B) {
		prove(b, func(tx *bolt.Tx) error {
			tenant := ledger.Tenant(fmt.Sprintf("tenant-%d", rng.IntN(1000)))
			leaf, ok, err := findLeaf(tx, tenant, ledger.Revision(1+rng.IntN(size/1000)))
			if err != nil || !ok {
				return fmt.Errorf("leaf of %s: %v, %w", tenant, ok, err)
			}
			_, err = tlog.ProveRecord(size, leaf, hashes{tx})
			return err
		})
	})
	b.Run("consistency", func(b *testing.B) {
		prove(b, func(tx *bolt.Tx) error {
			_, err := tlog.ProveTree(size, 1+rng.Int64N(size), hashes{tx})
			return err
		})
	})
}

func BenchmarkReadRecord(b *testing.B) {
	for _, changes := range []int{1, 100} {
		b.Run(fmt.Sprintf("changes=%d", changes), func(b *testing.B) {
			body := benchRecord(b, changes)
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := readRecord(body, ledger.Epoch{1}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
