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
	return fmt.Sprintf("the process has no memory for this now: the %d MiB for %s are in use, or reserved for other tenants; try again later", e.Size>>20, e.Share)
}

// Share is a number of bytes that are acquired before they are used, and released
// afterwards. It is safe for use by many goroutines.
type Share struct {
	name string
	size int64
	// common is what owners can use together; the rest is the reserve. See Divided.
	common int64
	// short, if set, is called before an Acquire waits, and while it does.
	short func()

	mu       sync.Mutex // guards the fields below
	used     int64
	reserved int64             // the part of used that is of the reserve
	owners   map[string]*owner // that hold bytes or wait
	came     uint64            // waiters so far
	queued   int               // waiters
	waiting  int64             // bytes of the waiters of Acquire, not of AcquireFirst

	refused atomic.Int64
}

// owner is a tenant that uses a Divided. All uses of other shares have the one without a name.
type owner struct {
	name     string
	used     int64
	reserved int64     // the part of used that is of the reserve
	waiters  []*waiter // in the order in which they came
	waiting  int64     // its part of the waiting bytes of the share
}

// waiter is an Acquire that waits.
type waiter struct {
	size    int64
	counted int64 // its part of waiting
	number  uint64
	room    chan struct{} // closed when it has its bytes
}

// NewShare makes a share of so many bytes.
func NewShare(name string, size int64) *Share {
	return &Share{name: name, size: size, common: size, owners: make(map[string]*owner)}
}

// WhenShort sets a function that makes room, for example by ending a use. It is called
// when an Acquire has to wait or a TryAcquire fails, also by several goroutines at once.
// Call WhenShort before any other method.
func (s *Share) WhenShort(f func()) { s.short = f }

// Acquire takes n bytes, or all of the share if it is smaller. It waits up to five
// seconds. The error is an *ExhaustedError, also if half of the share waits already,
// or that of ctx.
func (s *Share) Acquire(ctx context.Context, n int64) error {
	return s.acquire(ctx, "", min(n, s.size), true)
}

// AcquireFirst is Acquire for a caller that holds nothing yet: any number of them may wait.
func (s *Share) AcquireFirst(ctx context.Context, n int64) error {
	return s.acquire(ctx, "", min(n, s.size), false)
}

// acquire refuses at once, if the wait would be bounded and half of the share waits already. An
// owner that does not wait yet also has the other half.
func (s *Share) acquire(ctx context.Context, name string, n int64, bounded bool) error {
	s.mu.Lock()
	o := s.of(name)
	if s.queued == 0 && s.fits(n) {
		s.take(o, n)
		s.mu.Unlock()
		return nil
	}
	w := &waiter{size: n, number: s.came, room: make(chan struct{})}
	o.waiters = append(o.waiters, w)
	s.came, s.queued = s.came+1, s.queued+1
	s.admit()
	last := len(o.waiters) - 1
	if last < 0 || o.waiters[last] != w { // it has its bytes
		s.mu.Unlock()
		return nil
	}
	if bounded {
		most := s.size
		if o.waiting > 0 {
			most = max(s.size/2, n)
		}
		if s.waiting > 0 && s.waiting+n > most {
			s.remove(o, last)
			s.forget(o)
			s.mu.Unlock()
			return s.exhausted()
		}
		w.counted = n
		o.waiting += n
		s.waiting += n
	}
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
	if s.giveUp(o, w) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait for memory for %s: %w", s.name, err)
	}
	return s.exhausted()
}

// of returns the owner, which is kept while it holds bytes or waits; the one without a name always
// is. mu is held.
func (s *Share) of(name string) *owner {
	o := s.owners[name]
	if o == nil {
		o = &owner{name: name}
		s.owners[name] = o
	}
	return o
}

// forget removes an owner that neither holds bytes nor waits. mu is held.
func (s *Share) forget(o *owner) {
	if o.name != "" && o.used == 0 && len(o.waiters) == 0 {
		delete(s.owners, o.name)
	}
}

// fits reports whether n bytes of what all owners use together are free. mu is held.
func (s *Share) fits(n int64) bool { return s.used-s.reserved+n <= s.common }

// fitsReserve reports whether an owner gets n bytes of the reserve. mu is held.
func (s *Share) fitsReserve(o *owner, n int64) bool {
	return o.used == 0 && n <= (s.size-s.common-s.reserved)/2
}

// take takes bytes that are free. mu is held.
func (s *Share) take(o *owner, n int64) {
	s.used += n
	o.used += n
	s.forget(o)
}

// admit gives waiters their bytes, while there are some that fit. mu is held.
func (s *Share) admit() {
	for s.queued > 0 {
		o, reserved := s.next()
		if o == nil {
			return
		}
		w := o.waiters[0]
		s.remove(o, 0)
		s.take(o, w.size)
		if reserved {
			o.reserved = w.size
			s.reserved += w.size
		}
		close(w.room)
	}
}

// next returns the owner whose first waiter gets its bytes now, or nil, and whether it gets them of
// the reserve. The owner that holds the least comes first. Others wait behind it, also if they need
// less, because otherwise it might never get its bytes. Only the reserve is for all that hold
// nothing. mu is held.
func (s *Share) next() (_ *owner, reserved bool) {
	var least, reserve *owner
	for _, o := range s.owners {
		if len(o.waiters) == 0 {
			continue
		}
		first := o.waiters[0]
		if least == nil || o.used < least.used || o.used == least.used && first.number < least.waiters[0].number {
			least = o
		}
		if s.fitsReserve(o, first.size) && (reserve == nil || first.number < reserve.waiters[0].number) {
			reserve = o
		}
	}
	if least != nil && s.fits(least.waiters[0].size) {
		return least, false
	}
	return reserve, true
}

// remove removes a waiter of an owner. mu is held.
func (s *Share) remove(o *owner, i int) {
	w := o.waiters[i]
	o.waiters, o.waiting = slices.Delete(o.waiters, i, i+1), o.waiting-w.counted
	s.queued, s.waiting = s.queued-1, s.waiting-w.counted
}

// giveUp ends the wait, and reports whether it has its bytes after all.
func (s *Share) giveUp(o *owner, w *waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(o.waiters, w)
	if i < 0 {
		return true
	}
	s.remove(o, i)
	s.forget(o)
	s.admit() // the next may need less
	return false
}

// TryAcquire is Acquire without waiting. It reports whether there was room. It comes before the
// Acquires that wait: watch events would not be sent while a large answer waits, although there
// is room for them.
func (s *Share) TryAcquire(n int64) bool {
	n = min(n, s.size)
	s.mu.Lock()
	ok := s.fits(n)
	if ok {
		s.take(s.of(""), n)
	}
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
func (s *Share) Release(n int64) { s.release("", min(n, s.size)) }

func (s *Share) release(name string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.of(name)
	s.used -= n
	o.used -= n
	reserved := min(n, o.reserved) // first, because it is for others
	s.reserved -= reserved
	o.reserved -= reserved
	s.forget(o)
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
