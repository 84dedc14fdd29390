package replica_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
	"pgregory.net/rapid"
)

// The names are each other's prefixes, and "-", "." and "/" sort around the end of a
// name: a mix-up of where one ends reads another's entry.
var (
	hostileKeys    = []ledger.Key{"a", "a-b", "a.b", "a/b", "a/b-c", "a/b.c", "a/b/c", "a/b/c/d", "a/bc", "aa", "ab", "A", "_", "0", "z/9"}
	hostileTenants = []ledger.Tenant{"a", "a-", "a-b", "a_b", "ab", "_system"}
	prefixes       = []ledger.Prefix{"", "a/", "a/b/", "a.", "a-", "zz", "z/", "a", "a-b", "a.b", "a/b", "a/b-c", "a/b.c", "a/b/c", "a/b/c/d", "a/bc", "aa", "ab", "A", "_", "0", "z/9"}
)

func TestAsOf_EqualsTheReplay(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		readsEqualReplay(t, dir, newFakeJournal(), hostileTenants, 40)
	})
}

func TestAsOf_RealJournalEqualsTheReplay(t *testing.T) {
	if testing.Short() {
		t.Skip("syncs every write")
	}
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	dir := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		if runs++; runs > 8 {
			return
		}
		tenants := make([]ledger.Tenant, len(hostileTenants)) // new ones: the journal stays
		for i, tenant := range hostileTenants {
			tenants[i] = ledger.Tenant(fmt.Sprint(runs)) + tenant
		}
		readsEqualReplay(t, dir, n.Journal, tenants, 80)
	})
}

// readsEqualReplay does random things to a replica and compares it with the
// model after some of them and at the end.
func readsEqualReplay(t *rapid.T, dir string, j anyJournal, tenants []ledger.Tenant, most int) {
	dir, err := os.MkdirTemp(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	files := 0
	path := func() string { return filepath.Join(dir, fmt.Sprint(files, ".db")) }
	n := start(t, path(), j)
	defer func() { n.ledger.Close(); n.Close() }()
	histories := make([]*history, len(tenants))
	for i, tenant := range tenants {
		histories[i] = newHistory(tenant)
	}
	clock := time.Date(2020, 2, 29, 12, 0, 0, 0, time.UTC)
	sets := rapid.Custom(func(t *rapid.T) ledger.ChangeSet {
		keys := rapid.SliceOfNDistinct(rapid.SampledFrom(hostileKeys), 1, 5, rapid.ID).Draw(t, "keys")
		set := ledger.ChangeSet{Author: "alice", Message: rapid.StringN(0, 5, 20).Draw(t, "message"), AllowEmpty: true}
		for _, key := range keys {
			ch := ledger.Change{Key: key, Delete: rapid.IntRange(0, 3).Draw(t, "delete") == 0}
			if !ch.Delete {
				ch.Value = ledger.Value(fmt.Sprint(rapid.IntRange(0, 99).Draw(t, "value")))
			}
			set.Changes = append(set.Changes, ch)
		}
		return set
	})
	requests := 0
	compare := func() {
		for _, h := range histories {
			eventually(t, "the replica has caught up", func() bool { return n.Head(h.tenant).Revision >= h.head() })
			if err := compareAll(n.Replica, h); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range rapid.IntRange(1, most).Draw(t, "steps") {
		switch step := rapid.IntRange(0, 19).Draw(t, "step"); step {
		case 0, 1:
			if err := n.Flush(); err != nil {
				t.Fatal(err)
			}
		case 2:
			n.close(t)
			n = start(t, path(), j)
		case 3: // a kill: what was not flushed is gone from the file
			copied, err := os.ReadFile(path())
			if err != nil {
				t.Fatal(err)
			}
			n.close(t)
			files++
			if err := os.WriteFile(path(), copied, 0o600); err != nil {
				t.Fatal(err)
			}
			n = start(t, path(), j)
		case 4:
			compare()
		case 5, 6:
			h := rapid.SampledFrom(histories).Draw(t, "tenant")
			to := ledger.Revision(rapid.IntRange(0, int(h.head())).Draw(t, "to"))
			h.rollback(t, n.ledger, to, rapid.SampledFrom(prefixes).Draw(t, "prefix"))
		case 7:
			h := rapid.SampledFrom(histories).Draw(t, "tenant")
			if h.head() > 0 {
				revisions := rapid.SliceOfNDistinct(rapid.Uint64Range(uint64(max(1, h.head()-min(h.head(), 4))), uint64(h.head())), 1, 3, rapid.ID).Draw(t, "revisions")
				h.revert(t, n.ledger, revisions)
			}
		default:
			// Half of all writes go to the first tenant, so that one history gets long.
			h := histories[max(0, rapid.IntRange(1-len(histories), len(histories)-1).Draw(t, "tenant"))]
			batch := rapid.SliceOfN(sets, 1, 3).Draw(t, "change sets")
			for i := range batch {
				clock = clock.Add(rapid.SampledFrom([]time.Duration{0, 0, time.Nanosecond, time.Hour}).Draw(t, "later"))
				if h.head() == 0 || !h.commits[h.head()-1].Time.After(clock) { // nothing is restored yet
					batch[i].Import = &ledger.Import{Time: clock, Importer: "root"}
				}
				if rapid.Bool().Draw(t, "named") {
					requests++
					batch[i].RequestID = fmt.Sprint("r", requests)
				}
			}
			h.write(t, n.ledger, batch...)
		}
	}
	compare()
	if fake, ok := j.(*fakeJournal); ok {
		n.close(t)
		files++
		n = start(t, path(), regrouped(t, fake))
		compare()
		if err := n.Flush(); err != nil {
			t.Fatal(err)
		}
		compare()
		if current, err := n.Check(context.Background()); !current || err != nil {
			t.Fatalf("check: %v, %v", current, err)
		}
	}
	if aside, err := filepath.Glob(filepath.Join(dir, "*.damaged-*")); err != nil || len(aside) > 0 {
		t.Fatalf("sound files were set aside: %v, %v", aside, err)
	}
}

// compareAll compares every read of every state.
func compareAll(r *replica.Replica, h *history) error {
	if h.head() == 0 {
		var out *ledger.RangeError
		if _, err := r.View(h.tenant, replica.At{Time: time.Now()}); !errors.As(err, &out) {
			return fmt.Errorf("a state of %s, which has no commit: %v", h.tenant, err)
		}
	}
	if err := h.compareState(r, replica.At{}, h.head(), hostileKeys, prefixes); err != nil {
		return fmt.Errorf("head: %w", err)
	}
	for i, c := range h.commits {
		rev := ledger.Revision(i + 1)
		if err := h.compareState(r, replica.At{Revision: rev}, rev, hostileKeys, prefixes); err != nil {
			return err
		}
		for _, at := range []time.Time{c.Time.Add(-time.Nanosecond), c.Time, c.Time.Add(time.Nanosecond)} {
			if at.After(time.Now()) {
				continue
			}
			want := h.at(at)
			if want == 0 {
				var out *ledger.RangeError
				if _, err := r.View(h.tenant, replica.At{Time: at}); !errors.As(err, &out) || !out.First.Equal(h.commits[0].Time) {
					return fmt.Errorf("%s before its first commit: %v", h.tenant, err)
				}
				continue
			}
			if err := h.compareState(r, replica.At{Time: at}, want, nil, []ledger.Prefix{""}); err != nil {
				return err
			}
		}
	}
	var out *ledger.RangeError
	if _, err := r.View(h.tenant, replica.At{Revision: h.head() + 1}); !errors.As(err, &out) {
		return fmt.Errorf("%s after its head: %v", h.tenant, err)
	}
	if err := h.compareHistory(r); err != nil {
		return err
	}
	return h.compareCommits(r, 4, 15, 16, 17, 32)
}

// regrouped is a journal with the same commits in other records: it joins neighbors,
// so that a record has commits of several tenants.
func regrouped(t *rapid.T, j *fakeJournal) *fakeJournal {
	joined := newFakeJournal()
	for left := j.messages; len(left) > 0; {
		n := min(len(left), rapid.IntRange(1, 6).Draw(t, "messages in a record"))
		var commits []*ledger.Commit
		for _, m := range left[:n] {
			more, err := ledger.DecodeRecord(m.Record)
			if err != nil {
				t.Fatal(err)
			}
			commits = append(commits, more...)
		}
		left = left[n:]
		slices.SortStableFunc(commits, func(a, b *ledger.Commit) int { return strings.Compare(string(a.Tenant), string(b.Tenant)) })
		var record []byte
		for _, c := range commits {
			record = append(ledger.AppendRecordItem(record, len(c.Encoded)), c.Encoded...)
		}
		joined.messages = append(joined.messages, journal.Message{Sequence: ledger.Sequence(len(joined.messages) + 1), Record: record})
	}
	return joined
}
