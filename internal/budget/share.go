package budget

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// acquireTimeout is how long an Acquire waits for room.
const acquireTimeout = 5 * time.Second

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

	mu      sync.Mutex // guards the fields below
	used    int64
	waiters []*waiter // in the order in which they came
	waiting int64     // bytes of the waiters of Acquire, not of AcquireFirst

	refused atomic.Int64
}

// waiter is an Acquire that waits.
type waiter struct {
	size    int64
	counted int64         // its part of waiting
	room    chan struct{} // closed when it has its bytes
}

// NewShare makes a share of so many bytes.
func NewShare(name string, size int64) *Share {
	return &Share{name: name, size: size}
}

// WhenShort sets a function that makes room, for example by ending a use. It is called
// when an Acquire has to wait or a TryAcquire fails, also by several goroutines at once.
// Call WhenShort before any other method.
func (s *Share) WhenShort(f func()) { s.short = f }

// Acquire takes n bytes, or all of the share if it is smaller. It waits up to five
// seconds. The error is an *ExhaustedError, also if half of the share waits already,
// or that of ctx.
func (s *Share) Acquire(ctx context.Context, n int64) error {
	return s.acquire(ctx, n, true)
}

// AcquireFirst is Acquire for a caller that holds nothing yet: any number of them may wait.
func (s *Share) AcquireFirst(ctx context.Context, n int64) error {
	return s.acquire(ctx, n, false)
}

// acquire refuses at once, if the wait is bounded and half of the share waits already.
func (s *Share) acquire(ctx context.Context, n int64, bounded bool) error {
	n = min(n, s.size)
	s.mu.Lock()
	if len(s.waiters) == 0 && s.take(n) {
		s.mu.Unlock()
		return nil
	}
	w := &waiter{size: n, room: make(chan struct{})}
	if bounded {
		w.counted = n
		if s.waiting+n > max(s.size/2, n) {
			s.mu.Unlock()
			return s.exhausted()
		}
	}
	s.waiters, s.waiting = append(s.waiters, w), s.waiting+w.counted
	s.mu.Unlock()

	wait, cancel := context.WithTimeout(ctx, acquireTimeout)
	defer cancel()
	if s.short != nil {
		defer context.AfterFunc(wait, s.short)() // once more, if it gives up
		s.short()
	}
	select {
	case <-w.room:
		return nil
	case <-wait.Done():
	}
	if s.giveUp(w) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait for memory for %s: %w", s.name, err)
	}
	return s.exhausted()
}

// take takes bytes that are free. mu is held.
func (s *Share) take(n int64) bool {
	if s.size-s.used < n {
		return false
	}
	s.used += n
	return true
}

// admit gives the waiters their bytes, from the first on, while they are free. mu is held.
func (s *Share) admit() {
	for len(s.waiters) > 0 && s.take(s.waiters[0].size) {
		s.waiting -= s.waiters[0].counted
		close(s.waiters[0].room)
		s.waiters = slices.Delete(s.waiters, 0, 1)
	}
}

// giveUp ends the wait, and reports whether it has its bytes after all.
func (s *Share) giveUp(w *waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.waiters, w)
	if i < 0 {
		return true
	}
	s.waiters, s.waiting = slices.Delete(s.waiters, i, i+1), s.waiting-w.counted
	s.admit() // the next may need less
	return false
}

// TryAcquire is Acquire without waiting. It reports whether there was room. It comes before the
// Acquires that wait: watch events would not be sent while a large answer waits, although there
// is room for them.
func (s *Share) TryAcquire(n int64) bool {
	s.mu.Lock()
	ok := s.take(min(n, s.size))
	s.mu.Unlock()
	if !ok {
		s.refused.Add(1)
		if s.short != nil {
			s.short()
		}
	}
	return ok
}

// Release gives back what was acquired with the same number.
func (s *Share) Release(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= min(n, s.size)
	s.admit()
}

func (s *Share) exhausted() error {
	s.refused.Add(1)
	return &ExhaustedError{s.name, s.size}
}

// Name is what the share is for, Size its bytes, Used those that are acquired, and Refused
// how often there was no room.
func (s *Share) Name() string   { return s.name }
func (s *Share) Size() int64    { return s.size }
func (s *Share) Refused() int64 { return s.refused.Load() }

func (s *Share) Used() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}
