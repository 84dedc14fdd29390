package budget_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelehq/stele/internal/budget"
	"pgregory.net/rapid"
)

func TestShare_AcquireWaitsForRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := budget.NewShare("requests", 100)
		if err := s.Acquire(t.Context(), 80); err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() { got <- s.Acquire(t.Context(), 30) }()
		synctest.Wait()
		select {
		case err := <-got:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
		s.Release(80)
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		if s.Used() != 30 {
			t.Errorf("%d bytes are used, want 30", s.Used())
		}
	})
}

func TestShare_AcquireRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := budget.NewShare("requests", 100)
		var short atomic.Int64
		s.WhenShort(func() { short.Add(1) })
		if !s.TryAcquire(100) || s.TryAcquire(1) {
			t.Fatal("a full share takes more")
		}
		began := time.Now()
		err := s.Acquire(t.Context(), 60)
		var exhausted *budget.ExhaustedError
		if !errors.As(err, &exhausted) || time.Since(began) != 5*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		synctest.Wait()
		if n := short.Load(); n != 3 { // the TryAcquire, before and after the wait
			t.Errorf("the share reported %d times that it is short", n)
		}

		ctx, cancel := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if err := s.Acquire(ctx, 60); !errors.Is(err, context.Canceled) {
				t.Errorf("a canceled wait: %v", err)
			}
		})
		synctest.Wait()
		began = time.Now()
		if err := s.Acquire(t.Context(), 60); !errors.As(err, &exhausted) || time.Since(began) > 0 {
			t.Errorf("half of the share waits, and one more waited %s: %v", time.Since(began), err)
		}
		cancel()
		waiting.Wait()
		s.Release(100)
		if s.Used() != 0 || s.Refused() != 3 {
			t.Errorf("%d bytes are used, and %d were refused", s.Used(), s.Refused())
		}
	})
}

// A small use that cannot wait is not refused because a large one waits.
func TestShare_TryAcquireComesBeforeWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := budget.NewShare("answers", 100)
		if err := s.Acquire(t.Context(), 60); err != nil {
			t.Fatal(err)
		}
		large := make(chan error, 1)
		go func() { large <- s.Acquire(t.Context(), 50) }()
		synctest.Wait()
		if !s.TryAcquire(10) {
			t.Error("40 bytes are free, and 10 are refused")
		}
		if s.TryAcquire(31) {
			t.Error("30 bytes are free, and 31 were acquired")
		}
		s.Release(60)
		if err := <-large; err != nil || s.Used() != 60 {
			t.Errorf("%d bytes are used, want 60: %v", s.Used(), err)
		}
	})
}

// When a large use gives up, a smaller one behind it gets what is free.
func TestShare_WaiterThatGivesUpAdmitsTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := budget.NewShare("requests", 100)
		if err := s.Acquire(t.Context(), 60); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		large, small := make(chan error, 1), make(chan error, 1)
		go func() { large <- s.AcquireFirst(ctx, 50) }()
		synctest.Wait()
		go func() { small <- s.AcquireFirst(t.Context(), 40) }()
		synctest.Wait()
		cancel()
		if err := <-large; !errors.Is(err, context.Canceled) {
			t.Errorf("the large one: %v", err)
		}
		if err := <-small; err != nil || s.Used() != 100 {
			t.Errorf("the small one: %v; %d bytes are used", err, s.Used())
		}
	})
}

// Callers that hold nothing yet do not make others fail that have done their work.
func TestShare_AcquireWaitsBehindAcquireFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := budget.NewShare("requests", 100)
		if !s.TryAcquire(100) {
			t.Fatal("an empty share has no room")
		}
		var first sync.WaitGroup
		for range 3 {
			first.Go(func() { _ = s.AcquireFirst(t.Context(), 60) })
		}
		synctest.Wait()
		began := time.Now()
		var exhausted *budget.ExhaustedError
		if err := s.Acquire(t.Context(), 40); !errors.As(err, &exhausted) || time.Since(began) != 5*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		first.Wait()
	})
}

func TestShare_LargerThanAllTakesAll(t *testing.T) {
	s := budget.NewShare("answers", 100)
	if err := s.Acquire(t.Context(), 1000); err != nil || s.Used() != 100 {
		t.Fatalf("%d bytes are used: %v", s.Used(), err)
	}
	s.Release(1000)
	if s.Used() != 0 || !s.TryAcquire(100) {
		t.Error("the share is not empty again")
	}
}

// Whatever happens, no more than the share is used, and nothing is left in the end.
func TestShare_Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 100).Draw(t, "size")
		uses := rapid.SliceOfN(rapid.Int64Range(0, 150), 1, 40).Draw(t, "uses")
		cancels := rapid.SliceOfN(rapid.Bool(), len(uses), len(uses)).Draw(t, "cancels")
		s := budget.NewShare("requests", size)
		var all sync.WaitGroup
		for i, n := range uses {
			all.Go(func() {
				ctx, cancel := context.WithCancel(context.Background())
				if cancels[i] {
					go cancel()
				}
				defer cancel()
				if s.Acquire(ctx, n) != nil {
					return
				}
				if used := s.Used(); used > size || used < 0 {
					t.Errorf("%d bytes of %d are used", used, size)
				}
				s.Release(n)
			})
		}
		all.Wait()
		if s.Used() != 0 || !s.TryAcquire(size) {
			t.Fatalf("%d bytes are used after the end", s.Used())
		}
	})
}

func TestNew(t *testing.T) {
	for _, test := range []struct{ limit, requests, answers, connections, streams, calls, tail int64 }{
		{512 << 20, 128 << 20, 64 << 20, 4096, 8192, 4096, 16 << 20},
		{1 << 30, 256 << 20, 128 << 20, 8192, 16_384, 8192, 32 << 20},
		{64 << 20, 48 << 20, 32 << 20, 1024, 8192, 4096, 4 << 20},
		{8 << 30, 2 << 30, 1 << 30, 20_000, 65_536, 65_536, 64 << 20},
		{math.MaxInt64, 1 << 30, 512 << 20, 20_000, 65_536, 32_768, 64 << 20},
	} {
		b := budget.New(test.limit)
		if b.Requests.Total.Size() != test.requests || b.Answers.Size() != test.answers || int64(b.Connections) != test.connections || int64(b.Streams) != test.streams || int64(b.Calls) != test.calls || int64(b.Tail) != test.tail {
			t.Errorf("New(%d) = %d, %d, %d, %d, %d, %d", test.limit, b.Requests.Total.Size(), b.Answers.Size(), b.Connections, b.Streams, b.Calls, b.Tail)
		}
	}
}
