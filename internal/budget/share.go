package budget

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// patience is how long an Acquire waits for room.
const patience = 5 * time.Second

// ExhaustedError refuses a use of memory that does not fit into its share.
type ExhaustedError struct {
	Share string
	Size  int64
}

func (e *ExhaustedError) Error() string {
	return fmt.Sprintf("the process has no memory for this now: all of the %d MiB for %s are in use; try again later", e.Size>>20, e.Share)
}

// Share is a number of bytes that are acquired before they are used, and released
// afterwards. It is safe for use by many goroutines.
type Share struct {
	name string
	size int64
	// short, if set, is called before an Acquire waits, and while it does.
	short func()

	free    *semaphore.Weighted
	used    atomic.Int64
	waiting atomic.Int64 // bytes of the Acquires that wait
	refused atomic.Int64
}

// NewShare makes a share of so many bytes.
func NewShare(name string, size int64) *Share {
	return &Share{name: name, size: size, free: semaphore.NewWeighted(size)}
}

// WhenShort sets a function that makes room, for example by ending a use. It is called
// when an Acquire has to wait or a TryAcquire fails, also by several goroutines at once.
// Call WhenShort before any other method.
func (s *Share) WhenShort(f func()) { s.short = f }

// Acquire takes n bytes, or all of the share if it is smaller. It waits up to five
// seconds. The error is an *ExhaustedError, also if half of the share waits already,
// or that of ctx.
func (s *Share) Acquire(ctx context.Context, n int64) error {
	return s.acquire(ctx, n, max(s.size/2, min(n, s.size)))
}

// AcquireFirst is Acquire for a caller that holds nothing yet: any number of them may wait.
func (s *Share) AcquireFirst(ctx context.Context, n int64) error {
	return s.acquire(ctx, n, math.MaxInt64)
}

// acquire refuses at once if more than so many bytes wait.
func (s *Share) acquire(ctx context.Context, n, mostWaiting int64) error {
	n = min(n, s.size)
	if s.free.TryAcquire(n) {
		s.used.Add(n)
		return nil
	}
	if s.waiting.Add(n) > mostWaiting {
		s.waiting.Add(-n)
		return s.exhausted()
	}
	defer s.waiting.Add(-n)
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if s.short != nil {
		defer context.AfterFunc(wait, s.short)() // once more, if it gives up
		s.short()
	}
	if s.free.Acquire(wait, n) != nil {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("wait for memory for %s: %w", s.name, err)
		}
		return s.exhausted()
	}
	s.used.Add(n)
	return nil
}

// TryAcquire is Acquire without waiting. It reports whether there was room.
func (s *Share) TryAcquire(n int64) bool {
	n = min(n, s.size)
	if !s.free.TryAcquire(n) {
		s.refused.Add(1)
		if s.short != nil {
			s.short()
		}
		return false
	}
	s.used.Add(n)
	return true
}

// Release gives back what was acquired with the same number.
func (s *Share) Release(n int64) {
	n = min(n, s.size)
	s.used.Add(-n)
	s.free.Release(n)
}

func (s *Share) exhausted() error {
	s.refused.Add(1)
	return &ExhaustedError{s.name, s.size}
}

// Name is what the share is for, Size its bytes, Used those that are acquired, and Refused
// how often there was no room.
func (s *Share) Name() string   { return s.name }
func (s *Share) Size() int64    { return s.size }
func (s *Share) Used() int64    { return s.used.Load() }
func (s *Share) Refused() int64 { return s.refused.Load() }
