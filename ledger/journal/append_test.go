package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stelehq/stele/ledger"
)

func TestAppendHoldsTheExpectedSequence(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{Shards: 1})
	first := mustAppend(t, j, "acme", 0, "one")
	other := mustAppend(t, j, "beta", 0, "other")
	second := mustAppend(t, j, "acme", first, "two")
	for name, expected := range map[string]ledger.Sequence{
		"none, but there are two": 0, "stale": first, "another tenant's": other, "future": second + 1,
	} {
		if _, err := j.Append(t.Context(), "acme", expected, []byte("wrong")); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: got %v, want ErrConflict", name, err)
		}
	}
	for tenant, want := range map[ledger.Tenant]ledger.Sequence{"acme": second, "beta": other, "nobody": 0} {
		if got, err := j.LastOf(t.Context(), tenant); got != want || err != nil {
			t.Errorf("last of %s is %d, %v, want %d", tenant, got, err, want)
		}
	}
	if last, err := j.Last(t.Context(), 0); last != 3 || err != nil {
		t.Errorf("last is %d, %v, want 3", last, err)
	}
	if _, err := j.Read(t.Context(), 0, 4); !errors.Is(err, ErrNoMessage) {
		t.Errorf("reading what is not there: got %v, want ErrNoMessage", err)
	}
}

func TestAppendRefusesWhatItCannotWrite(t *testing.T) {
	s := startTest(t, t.TempDir())
	j := openTest(t, s, Config{Shards: 1})
	largest := bytes.Repeat([]byte("x"), j.MaxRecord())
	if _, err := j.Append(t.Context(), "acme", 0, largest); err != nil {
		t.Errorf("the largest record: %v", err)
	}
	if _, err := j.Append(t.Context(), "acme", 1, append(largest, 'x')); err == nil {
		t.Error("a record larger than MaxRecord was taken")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Append(ended, "acme", 1, nil); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("with an ended context: got %v, want ErrUnavailable", err)
	}
	j.Close()
	if _, err := j.Append(t.Context(), "acme", 1, nil); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("after Close: got %v, want ErrUnavailable", err)
	}
	j.nc.Close()
	if _, err := j.Append(t.Context(), "acme", 1, nil); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("without a connection: got %v, want ErrUnavailable", err)
	}
}

func TestOneOfConcurrentAppendersWinsEachSequence(t *testing.T) {
	s := startTest(t, t.TempDir())
	// Two processes, each with writers that all build on the same message.
	journals := []*Journal{openTest(t, s, Config{Shards: 1}), openTest(t, s, Config{})}
	var last ledger.Sequence
	for range 20 {
		var wins atomic.Int32
		var won atomic.Uint64
		var all sync.WaitGroup
		for i := range 32 {
			all.Go(func() {
				seq, err := journals[i%2].Append(t.Context(), "acme", last, []byte("x"))
				switch {
				case err == nil:
					wins.Add(1)
					won.Store(uint64(seq))
				case !errors.Is(err, ErrConflict):
					t.Error(err)
				}
			})
		}
		all.Wait()
		if wins.Load() != 1 {
			t.Fatalf("%d appenders won after message %d", wins.Load(), last)
		}
		last = ledger.Sequence(won.Load())
	}
}

// Sixty tenants of one shard fill batches; one that builds on the wrong message
// spoils the first of them, and must be the only one to notice.
func TestManyTenantsAreStoredOnceAndInOrder(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{Shards: 1})
	const tenants, each, spoiled = 4 * batchFrom, 20, 5
	var all sync.WaitGroup
	all.Go(func() {
		for range spoiled {
			if _, err := j.Append(t.Context(), "spoiler", 1<<40, []byte("never")); !errors.Is(err, ErrConflict) {
				t.Errorf("spoiler: got %v, want ErrConflict", err)
				return
			}
		}
	})
	for i := range tenants {
		all.Go(func() {
			tenant := ledger.Tenant(fmt.Sprintf("t%d", i))
			var last ledger.Sequence
			for n := range each {
				last = mustAppend(t, j, tenant, last, fmt.Sprint(n))
			}
		})
	}
	all.Wait()

	next := map[ledger.Tenant]int{}
	batched := false
	for _, m := range follow(t, j, 0, 0, tenants*each) {
		if want := fmt.Sprint(next[m.Tenant]); string(m.Record) != want {
			t.Fatalf("%s has %s at message %d, want %s", m.Tenant, m.Record, m.Sequence, want)
		}
		next[m.Tenant]++
		raw, err := j.shards[0].stream.GetMsg(t.Context(), uint64(m.Sequence))
		if err != nil {
			t.Fatal(err)
		}
		batched = batched || raw.Header.Get(headerBatch) != ""
	}
	if last, _ := j.Last(t.Context(), 0); last != tenants*each || len(next) != tenants {
		t.Errorf("%d messages of %d tenants, want %d of %d", last, len(next), tenants*each, tenants)
	}
	if !batched {
		t.Error("no message came in a batch")
	}
}

// A batch gives every record the sequence that it really has.
func TestRoundGivesEachItsOwnSequence(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{Shards: 1})
	for _, size := range []int{1, 2, batchFrom - 1, batchFrom, 200, batchMost} {
		entries := make([]*entry, size)
		for i := range entries {
			name := ledger.Tenant(fmt.Sprintf("size%d-%d", size, i))
			entries[i] = &entry{subject: subject(0, name), record: []byte(name), outcome: make(chan outcome, 1)}
		}
		j.round(entries)
		for _, e := range entries {
			o := <-e.outcome
			if o.err != nil {
				t.Fatal(o.err)
			}
			m, err := j.Read(t.Context(), 0, o.seq)
			if err != nil || string(m.Record) != string(e.record) {
				t.Fatalf("message %d holds %q, %v, want %q", o.seq, m.Record, err, e.record)
			}
		}
	}
}

func TestNobodyDeletes(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{Shards: 1})
	mustAppend(t, j, "acme", 0, "one")
	stream := j.shards[0].Stream
	if err := stream.DeleteMsg(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "10057") {
		t.Errorf("delete: got %v, want 10057", err)
	}
	if err := stream.Purge(t.Context()); err == nil || !strings.Contains(err.Error(), "10110") {
		t.Errorf("purge: got %v, want 10110", err)
	}
	open := stream.CachedInfo().Config
	open.DenyDelete = false
	if _, err := j.js.UpdateStream(t.Context(), open); err == nil {
		t.Error("DenyDelete was taken back")
	}
	if _, err := j.Read(t.Context(), 0, 1); err != nil {
		t.Error(err)
	}
}
