package journal

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

func TestGuard_StopsWritesWithAReason(t *testing.T) {
	update := func(change func(*jetstream.StreamConfig)) func(*testing.T, *Journal) {
		return func(t *testing.T, j *Journal) {
			cfg := j.stream.CachedInfo().Config
			change(&cfg)
			if _, err := j.js.UpdateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		spoil func(*testing.T, *Journal)
		want  string
	}{
		"history cut per subject": {
			update(func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }), "MaxMsgsPerSubject is 1, must be -1",
		},
		"history cut by age": {
			update(func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }), "MaxAge is 1h0m0s, must be 0s",
		},
		"history cut by size": {
			update(func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 }), "MaxBytes is 1048576, must be -1",
		},
		"another ledger": {
			update(func(c *jetstream.StreamConfig) { c.Metadata[metaEpoch] = "00" }), "epoch is 00",
		},
		"the stream is gone": {
			func(t *testing.T, j *Journal) {
				if err := j.js.DeleteStream(t.Context(), "STELE"); err != nil {
					t.Fatal(err)
				}
			}, "STELE is gone",
		},
		"the stream is shorter than it was": {
			func(t *testing.T, j *Journal) {
				if err := j.js.DeleteStream(t.Context(), "STELE"); err != nil {
					t.Fatal(err)
				}
				// The server may still be deleting the stream's folder.
				for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
					_, err := j.js.CreateStream(t.Context(), j.stream.want)
					if err == nil {
						break
					}
					if time.Now().After(end) {
						t.Fatal(err)
					}
				}
			}, "last_seq is 0, but message 3 was seen before",
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := openTest(t, startTest(t, t.TempDir()), Config{})
			var last ledger.Sequence
			for range 3 {
				last = mustAppend(t, j, last, "x")
			}
			if err := j.inspect(&j.stream); err != nil {
				t.Fatalf("before anything was changed: %v", err)
			}
			c.spoil(t, j)
			if err := j.inspect(&j.stream); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestGuard_ChecksPeriodically(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{guardInterval: time.Millisecond})
	cfg := j.stream.CachedInfo().Config
	cfg.MaxAge = time.Hour
	if _, err := j.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for j.Guard() == nil {
		time.Sleep(time.Millisecond)
	}
	_, err := j.Append(t.Context(), 0, []byte("x"))
	if !errors.Is(err, ledger.ErrReadOnly) || !strings.Contains(err.Error(), "STELE is not as it must be: MaxAge") {
		t.Errorf("got %v", err)
	}
}

// An unreachable stream does not stop writes permanently.
func TestGuard_IgnoresSilence(t *testing.T) {
	s := startTest(t, t.TempDir())
	j := openTest(t, s, Config{})
	j.nc.Close()
	if err := j.inspect(&j.stream); err != nil {
		t.Error(err)
	}
}

// A bucket's settings must not remove messages either: STELE-KEYS holds the only copy of keys.
func TestGuard_BucketsStopWithAReason(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{guardInterval: time.Millisecond})
	bucket, err := j.OpenBucket(t.Context(), Keys)
	if err != nil {
		t.Fatal(err)
	}
	var last ledger.Sequence
	for range 3 { // the newer message replaces the older one
		if last, err = bucket.Put(t.Context(), "acme", last, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := j.OpenBucket(t.Context(), Keys); err != nil {
		t.Fatalf("before anything was changed: %v", err)
	}
	cfg := bucket.stream.CachedInfo().Config
	cfg.MaxAge = time.Hour
	if _, err := j.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	const want = "STELE-KEYS is not as it must be: MaxAge is 1h0m0s, must be 0s"
	if _, err := j.OpenBucket(t.Context(), Keys); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("it is opened again: %v", err)
	}
	for end := time.Now().Add(time.Minute); bucket.stopped.Load() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the guard has not found the change")
		}
	}
	if _, err := bucket.Put(t.Context(), "acme", last, []byte("y")); !errors.Is(err, ledger.ErrReadOnly) || !strings.Contains(err.Error(), want) {
		t.Errorf("it is written to: %v", err)
	}
}
