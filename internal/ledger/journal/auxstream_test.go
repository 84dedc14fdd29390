package journal

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
)

func TestAuxStream(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{})
	mustAppend(t, j, 0, "x") // the ledger is used before the stream is there
	aux, err := j.OpenAuxStream(t.Context(), Checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	if seq, _, err := aux.Last(t.Context(), "0"); seq != 0 || err != nil {
		t.Fatalf("an empty stream has message %d, %v", seq, err)
	}
	first, err := aux.AppendAfter(t.Context(), "0", 0, []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := aux.Append(t.Context(), "1", []byte("of another name")); err != nil {
		t.Fatal(err)
	}
	for name, expected := range map[string]ledger.Sequence{"none": 0, "a later one": first + 1} {
		if _, err := aux.AppendAfter(t.Context(), "0", expected, []byte("fork")); !errors.Is(err, ErrConflict) {
			t.Errorf("append after %s: %v", name, err)
		}
	}
	again, err := j.OpenAuxStream(t.Context(), Checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	second, err := again.AppendAfter(t.Context(), "0", first, []byte("two"))
	if err != nil {
		t.Fatal(err)
	}
	if seq, body, err := aux.Last(t.Context(), "0"); seq != second || string(body) != "two" || err != nil {
		t.Errorf("the newest is %d %q, %v; want %d", seq, body, err, second)
	}
	if err := aux.stream.DeleteMsg(t.Context(), uint64(first)); err == nil {
		t.Error("a message was deleted")
	}
}

func TestAuxStream_OpenedTogetherIsShared(t *testing.T) {
	s := startTest(t, t.TempDir())
	const processes = 6
	var errs [processes]error
	var all sync.WaitGroup
	for i := range processes {
		j := openTest(t, s, Config{})
		all.Go(func() { _, errs[i] = j.OpenAuxStream(t.Context(), Checkpoints) })
	}
	all.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Error(err)
	}
}

func TestOpenAuxStream_RefusesAnotherLedgersStream(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{})
	if _, err := j.js.CreateStream(t.Context(), keepAll(Checkpoints.stream, Checkpoints.subject+"*", Checkpoints.what, 1, ledger.Epoch{1})); err != nil {
		t.Fatal(err)
	}
	if _, err := j.OpenAuxStream(t.Context(), Checkpoints); err == nil || !strings.Contains(err.Error(), "epoch is 0100000000000000") {
		t.Errorf("got %v", err)
	}
}

// Tampering with an auxiliary stream stops writes to it, but not commits.
func TestAuxStream_Guard(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{guardInterval: time.Millisecond})
	aux, err := j.OpenAuxStream(t.Context(), Checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	cfg := aux.stream.CachedInfo().Config
	cfg.MaxAge = time.Hour
	if _, err := j.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for aux.stopped.Load() == nil {
		time.Sleep(time.Millisecond)
	}
	_, err = aux.Append(t.Context(), "0", []byte("x"))
	if !errors.Is(err, ledger.ErrReadOnly) || !strings.Contains(err.Error(), "STELE-CHECKPOINTS is not as it must be: MaxAge") {
		t.Errorf("append: %v", err)
	}
	mustAppend(t, j, 0, "x")
	if _, err := j.OpenAuxStream(t.Context(), Checkpoints); err == nil || !strings.Contains(err.Error(), "MaxAge is 1h0m0s") {
		t.Errorf("open again: %v", err)
	}
}
