package directory

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Who waits at once shares a flush; who comes while one runs has the next, after a
// rest, because the first may have begun before what it has written.
func TestRounds_ShareAFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flushed [][]string
		r := newRounds(func(paths []string) error {
			flushed = append(flushed, slices.Sorted(slices.Values(paths)))
			time.Sleep(10 * time.Millisecond)
			return nil
		})
		var joined sync.WaitGroup
		join := func(path string, after, want time.Duration) {
			joined.Go(func() {
				time.Sleep(after)
				begun := time.Now()
				if err := r.join(t.Context(), path); err != nil || time.Since(begun) != want {
					t.Errorf("%s is durable after %v, not %v: %v", path, time.Since(begun), want, err)
				}
			})
		}
		join("a", 0, 10*time.Millisecond)
		join("b", 5*time.Millisecond, 105*time.Millisecond) // 5 of the first, 90 of rest, 10 of its own
		join("c", 50*time.Millisecond, 60*time.Millisecond)
		join("d", 105*time.Millisecond, 5*time.Millisecond+90*time.Millisecond+10*time.Millisecond)
		joined.Wait()
		if len(flushed) != 3 || !slices.Equal(flushed[1], []string{"b", "c"}) {
			t.Errorf("flushed are %v", flushed)
		}
	})
}

func TestRounds_FailedFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := errors.New("no disk")
		r := newRounds(func([]string) error { return lost })
		if err := r.join(t.Context(), "a"); !errors.Is(err, lost) {
			t.Errorf("it gets %v", err)
		}
		r.flush = func([]string) error { return nil }
		r.turns.pace.worked(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		cancel()
		if err := r.join(ctx, "a"); !errors.Is(err, context.Canceled) {
			t.Errorf("the leader of a round has ended, and gets %v", err)
		}
		r.turns.pace = pace{}
		if err := r.join(t.Context(), "a"); err != nil {
			t.Errorf("the next round gets %v", err)
		}
	})
}
