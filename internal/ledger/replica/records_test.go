package replica_test

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
	"pgregory.net/rapid"
)

// placed is a commit as the model has it.
type placed struct {
	sequence ledger.Sequence
	tenant   ledger.Tenant
	revision ledger.Revision
	id       ledger.CommitID
}

// TestRecords_EqualTheJournal compares both directions with the journal, from and up to
// any place, while commits are in the file, in the tails or in both.
func TestRecords_EqualTheJournal(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	tenants := []ledger.Tenant{"delta", "alpha", "charlie", "bravo"} // not in the order of their names
	var model []placed
	last := ledger.Sequence(0)
	unsorted, commits := 0, 0

	write := func(rt *rapid.T) {
		var pending []*ledger.Pending
		for range rapid.IntRange(1, 12).Draw(rt, "commits") {
			commits++
			set := ledger.ChangeSet{Changes: []ledger.Change{{Key: "k", Value: ledger.Value(fmt.Sprint(commits))}}}
			p, err := n.Ledger.Submit(t.Context(), rapid.SampledFrom(tenants).Draw(rt, "tenant"), set, nil)
			if err != nil {
				rt.Fatal(err)
			}
			pending = append(pending, p)
		}
		for _, p := range pending {
			if _, err := p.Wait(t.Context()); err != nil {
				rt.Fatal(err)
			}
		}
		for ; last < n.Replica.Position(); last++ {
			m, err := n.Journal.Read(t.Context(), last+1)
			if err != nil {
				rt.Fatal(err)
			}
			record, err := ledger.DecodeRecord(m.Record)
			if err != nil {
				rt.Fatal(err)
			}
			byTenant := func(a, b *ledger.Commit) int { return cmp.Compare(a.Tenant, b.Tenant) }
			if !slices.IsSortedFunc(record, byTenant) {
				unsorted++
			}
			slices.SortStableFunc(record, byTenant)
			for _, c := range record {
				model = append(model, placed{m.Sequence, c.Tenant, c.Revision, c.ID})
			}
		}
	}

	rapid.Check(t, func(rt *rapid.T) {
		write(rt)
		if rapid.Bool().Draw(rt, "flush") {
			if err := n.Replica.Flush(); err != nil {
				rt.Fatal(err)
			}
			if rapid.Bool().Draw(rt, "write after the flush") {
				write(rt)
			}
		}
		hidden := rapid.SampledFrom(append(tenants, "none")).Draw(rt, "hidden tenant")
		wanted := func(t ledger.Tenant) bool { return t != hidden }
		most := rapid.IntRange(1, len(model)+1).Draw(rt, "most")
		first := func(all iter.Seq2[replica.Recorded, error]) (got []placed) {
			for r, err := range all {
				if err != nil {
					rt.Fatal(err)
				}
				if len(got) == most {
					break
				}
				c, err := r.Commit()
				if err != nil {
					rt.Fatal(err)
				}
				if c.Tenant != r.Tenant || c.Revision != r.Revision || ledger.IDOf(r.Encoded) != c.ID {
					rt.Fatalf("%s%s stands for %s%s", r.Tenant, r.Revision, c.Tenant, c.Revision)
				}
				got = append(got, placed{r.Sequence, r.Tenant, r.Revision, c.ID})
			}
			return got
		}
		selected := func(in func(placed) bool) (out []placed) {
			for _, p := range model {
				if wanted(p.tenant) && in(p) {
					out = append(out, p)
				}
			}
			return out
		}

		after := ledger.Sequence(rapid.Uint64Range(0, uint64(last)).Draw(rt, "after"))
		want := selected(func(p placed) bool { return p.sequence > after })
		wantPosition := last
		if len(want) > most {
			wantPosition, want = want[most].sequence-1, want[:most]
		}
		records := n.Replica.Records(after, wanted)
		if got := first(records.All()); records.Position() != wantPosition || !slices.Equal(got, want) {
			rt.Fatalf("records after %d = %v up to %d\nwant %v up to %d", after, got, records.Position(), want, wantPosition)
		}

		before := ledger.Sequence(rapid.Uint64Range(0, uint64(last)+1).Draw(rt, "before"))
		want = selected(func(p placed) bool { return before == 0 || p.sequence < before })
		slices.Reverse(want)
		want = want[:min(most, len(want))]
		if got := first(n.Replica.RecordsBefore(before, wanted)); !slices.Equal(got, want) {
			rt.Fatalf("records before %d = %v\nwant %v", before, got, want)
		}
	})
	if unsorted == 0 {
		t.Error("no record holds tenants in another order than that of their names")
	}
}
