package journal

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
)

func TestAppend_RequiresTheExpectedSequence(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{})
	if last, err := j.Last(t.Context()); last != 0 || err != nil {
		t.Errorf("an empty journal ends at %d, %v", last, err)
	}
	first := mustAppend(t, j, 0, "one")
	second := mustAppend(t, j, first, "two")
	if first != 1 || second != 2 {
		t.Errorf("the messages are %d and %d", first, second)
	}
	for name, expected := range map[string]ledger.Sequence{
		"none, but there are two": 0, "stale": first, "future": second + 1,
	} {
		if _, err := j.Append(t.Context(), expected, []byte("wrong")); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: got %v, want ErrConflict", name, err)
		}
	}
	if last, err := j.Last(t.Context()); last != second || err != nil {
		t.Errorf("last is %d, %v, want %d", last, err, second)
	}
	for seq, want := range map[ledger.Sequence]string{first: "one", second: "two"} {
		if m, err := j.Read(t.Context(), seq); string(m.Record) != want || m.Sequence != seq || err != nil {
			t.Errorf("message %d is %+v, %v", seq, m, err)
		}
	}
	if _, err := j.Read(t.Context(), second+1); !errors.Is(err, ErrNoMessage) {
		t.Errorf("reading a message that does not exist: got %v, want ErrNoMessage", err)
	}
}

func TestAppend_Rejects(t *testing.T) {
	s := startTest(t, t.TempDir())
	j := openTest(t, s, Config{})
	largest := bytes.Repeat([]byte("x"), j.MaxRecord())
	mustAppend(t, j, 0, string(largest))
	if _, err := j.Append(t.Context(), 1, append(largest, 'x')); err == nil {
		t.Error("a record larger than MaxRecord was taken")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Append(ended, 1, nil); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("with an ended context: got %v, want ErrUnavailable", err)
	}
	j.Close()
	if _, err := j.Append(t.Context(), 1, nil); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("after Close: got %v, want ErrUnavailable", err)
	}
	j.nc.Close()
	if _, err := j.Append(t.Context(), 1, nil); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("without a connection: got %v, want ErrUnavailable", err)
	}
}

func TestAppend_ConcurrentOneWins(t *testing.T) {
	s := startTest(t, t.TempDir())
	// Two processes, each with writers that all build on the same message.
	journals := []*Journal{openTest(t, s, Config{}), openTest(t, s, Config{})}
	var last ledger.Sequence
	for range 20 {
		var wins atomic.Int32
		var won atomic.Uint64
		var all sync.WaitGroup
		for i := range 32 {
			all.Go(func() {
				seq, err := journals[i%2].Append(t.Context(), last, []byte("x"))
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

func TestStream_DeniesDeletion(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{})
	mustAppend(t, j, 0, "one")
	stream := j.stream.Stream
	if err := stream.DeleteMsg(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "10057") {
		t.Errorf("delete: got %v, want 10057", err)
	}
	if err := stream.Purge(t.Context()); err == nil || !strings.Contains(err.Error(), "10110") {
		t.Errorf("purge: got %v, want 10110", err)
	}
	open := stream.CachedInfo().Config
	open.DenyDelete = false
	if _, err := j.js.UpdateStream(t.Context(), open); err == nil {
		t.Error("DenyDelete was turned off")
	}
	if _, err := j.Read(t.Context(), 1); err != nil {
		t.Error(err)
	}
}

// The time that an append waits is not the deadline of the call that it is for.
func TestAppend_SilentServerIsAnUnknownOutcome(t *testing.T) {
	s := startTest(t, t.TempDir())
	j := openTest(t, s, Config{})
	// A stream that does not acknowledge is as silent as a server that is stopped.
	quiet := j.stream.CachedInfo().Config
	quiet.NoAck = true
	if _, err := j.js.UpdateStream(t.Context(), quiet); err != nil {
		t.Fatal(err)
	}
	_, err := j.Append(t.Context(), 0, []byte("record"))
	if !errors.Is(err, ledger.ErrUnknownOutcome) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
