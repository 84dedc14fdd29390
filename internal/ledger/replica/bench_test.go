package replica_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// BenchmarkView measures reads of a tenant with 1,000 keys and 2,000 commits, of which the
// older half is in the file and the newer one in memory.
func BenchmarkView(b *testing.B) {
	defer replica.NoFlushLoop()()
	n := start(b, filepath.Join(b.TempDir(), "replica"), newFakeJournal())
	defer n.close(b)
	const keys = 1000
	for i := range 2 * keys {
		cs := ledger.ChangeSet{Author: "a", Message: "m", Changes: []ledger.Change{{Key: ledger.Key(fmt.Sprintf("k/%04d", i%keys)), Value: ledger.Value(fmt.Sprint(i))}}}
		if _, err := n.ledger.Commit(b.Context(), "acme", cs); err != nil {
			b.Fatal(err)
		}
		if i == keys+keys/2 {
			if err := n.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
	v, err := n.View("acme", replica.At{})
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	own, err := n.Newest("acme")
	if err != nil {
		b.Fatal(err)
	}
	defer own.Close()
	for _, bench := range []struct {
		name string
		read func() error
	}{
		{"Open", func() error {
			v, err := n.View("acme", replica.At{})
			if err == nil {
				v.Close()
			}
			return err
		}},
		{"GetMemory", func() error { _, _, err := v.Get("k/0900"); return err }},
		{"GetFile", func() error { _, _, err := v.Get("k/0100"); return err }},
		{"Version", func() error { _, err := v.Version("k/0100", 200); return err }},
		{"Newest", func() error { _, _, err := own.Newest("k/0100"); return err }},
		{"Commit", func() error { _, err := v.Commit(100); return err }},
		{"Summary", func() error { _, _, err := v.Summary(100); return err }},
		{"ID", func() error { _, err := v.ID(100); return err }},
		{"List", func() error { return drain(v.List("k/", "")) }},
		{"Keys", func() error { return drain(v.Keys("k/", "")) }},
		{"Diff", func() error { return drain(v.Diff(500, 1900, "k/", "")) }},
		{"Log", func() error { return drain(v.Log(replica.Query{Names: []ledger.Name{"k/0100"}, From: 2 * keys}).All()) }},
		{"Records", func() error { return drain(n.Records(0, nil).All()) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := bench.read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
