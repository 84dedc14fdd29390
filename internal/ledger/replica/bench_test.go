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

// BenchmarkInheritance reads keys that a tenant sets itself, and the same keys inherited from
// that tenant, of which 10 are overridden.
func BenchmarkInheritance(b *testing.B) {
	const keys = 2500
	defer replica.NoFlushLoop()()
	n := start(b, filepath.Join(b.TempDir(), "replica"), newFakeJournal())
	defer n.close(b)
	commit := func(t ledger.Tenant, changes ...ledger.Change) {
		if _, err := n.ledger.Commit(b.Context(), t, ledger.ChangeSet{Author: "a", Message: "m", Changes: changes}); err != nil {
			b.Fatal(err)
		}
	}
	all := make([]ledger.Change, keys)
	for i := range all {
		all[i] = ledger.Change{Key: ledger.Key(fmt.Sprintf("k/%04d", i)), Value: ledger.Value(fmt.Sprintf(`{"value":%d}`, i))}
	}
	commit("defaults", all...)
	commit("heir", ledger.Change{Key: ledger.BasesKey, Value: `[{"tenant":"defaults","revision":1,"follow":true}]`})
	commit("heir", all[:10]...)
	if err := n.Flush(); err != nil {
		b.Fatal(err)
	}
	for _, t := range []ledger.Tenant{"defaults", "heir"} {
		b.Run("Get/"+string(t), func(b *testing.B) {
			for i := range b.N {
				v, err := n.View(t, replica.At{})
				if err != nil {
					b.Fatal(err)
				}
				if _, ok, err := v.Get(all[10+i%(keys-10)].Key); err != nil || !ok {
					b.Fatal(ok, err)
				}
				v.Close()
			}
		})
		b.Run("List/"+string(t), func(b *testing.B) {
			for range b.N {
				v, err := n.View(t, replica.At{})
				if err != nil {
					b.Fatal(err)
				}
				got := 0
				for _, err := range v.List("k/", "") {
					if err != nil {
						b.Fatal(err)
					}
					got++
				}
				v.Close()
				if got != keys {
					b.Fatal(got)
				}
			}
		})
	}
}
