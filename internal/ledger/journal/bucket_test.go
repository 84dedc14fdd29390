package journal_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
)

// A bucket keeps the newest message of a name, and lets one writer of two win.
func TestBucket(t *testing.T) {
	node := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	ctx := t.Context()
	bucket, err := node.Journal.OpenBucket(ctx, journal.Parked)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name, body string, expected journal.Entry) journal.Entry {
		t.Helper()
		seq, err := bucket.Put(ctx, name, expected.Sequence, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return journal.Entry{Name: name, Sequence: seq, Body: []byte(body)}
	}
	all := func(prefix string) (found []string) {
		t.Helper()
		for n, err := range bucket.All(ctx, prefix) {
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, n.Name+"="+string(n.Body))
		}
		return found
	}
	if n, err := bucket.Get(ctx, "bus.acme"); err != nil || n.Sequence != 0 {
		t.Fatalf("an entry that was never put is %v, %v", n, err)
	}
	if got := all(""); len(got) != 0 {
		t.Fatalf("a new stream holds %v", got)
	}
	first := put("bus.acme", "1", journal.Entry{})
	put("files.acme", "1", journal.Entry{})
	put("bus.globex", "1", journal.Entry{})
	second := put("bus.acme", "2", first)
	if _, err := bucket.Put(ctx, "bus.acme", first.Sequence, []byte("3")); !errors.Is(err, journal.ErrConflict) {
		t.Errorf("a writer who has not seen the newest entry gets %v, not a conflict", err)
	}
	if n, err := bucket.Get(ctx, "bus.acme"); err != nil || string(n.Body) != "2" || n.Sequence != second.Sequence {
		t.Errorf("the newest entry is %v, %v", n, err)
	}
	if got, want := all(""), []string{"files.acme=1", "bus.globex=1", "bus.acme=2"}; !slices.Equal(got, want) {
		t.Errorf("all are %v, want %v", got, want)
	}
	if got, want := all("bus"), []string{"bus.globex=1", "bus.acme=2"}; !slices.Equal(got, want) {
		t.Errorf("those of bus are %v, want %v", got, want)
	}
	for range 2 { // it may be gone already
		if err := bucket.Remove(ctx, second.Sequence); err != nil {
			t.Error(err)
		}
	}
	put("bus.acme", "4", journal.Entry{})
	if got, want := all("bus"), []string{"bus.globex=1", "bus.acme=4"}; !slices.Equal(got, want) {
		t.Errorf("after one was removed, those of bus are %v, want %v", got, want)
	}
}

// Bucket that are removed while they are read are missing, and nothing waits for
// them.
func TestBucket_ConcurrentRemoval(t *testing.T) {
	node := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	bucket, err := node.Journal.OpenBucket(t.Context(), journal.Parked)
	if err != nil {
		t.Fatal(err)
	}
	const total, kept = 1500, 1200 // more than are sent ahead
	seqs := make([]ledger.Sequence, total)
	for i := range seqs {
		if seqs[i], err = bucket.Put(t.Context(), fmt.Sprint("files.", i), 0, []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	found := 0
	for _, err := range bucket.All(t.Context(), "files") {
		if err != nil {
			t.Fatal(err)
		}
		if found++; found > 1 {
			continue
		}
		for _, seq := range seqs[kept:] {
			if err := bucket.Remove(t.Context(), seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	if found != kept {
		t.Errorf("%d entries are found; want %d", found, kept)
	}
}

// A slow caller loses the consumer, and perhaps deliveries. All reads again, and yields
// each message once.
func TestBucketAll_SlowCaller(t *testing.T) {
	t.Parallel()
	node := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	b, err := node.Journal.OpenBucket(t.Context(), journal.Parked)
	if err != nil {
		t.Fatal(err)
	}
	const total = 1200 // more than are sent ahead
	var want []string
	for i := range total {
		name := fmt.Sprint("files.", i)
		if _, err := b.Put(t.Context(), name, 0, []byte("1")); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	var got []string
	for e, err := range b.All(t.Context(), "files") {
		if err != nil {
			t.Fatal(err)
		}
		if len(got)%500 == 10 {
			time.Sleep(2500 * time.Millisecond) // longer than the server keeps an idle consumer
		}
		got = append(got, e.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d of %d entries", len(got), total)
	}
}
