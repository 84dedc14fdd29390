// Package share divides a fixed number of slots fairly among tenants and their subjects.
package share

import (
	"fmt"
	"sync"
)

// Slots are a fixed number of slots. A tenant gets another slot only if it holds fewer than
// are free, and a subject only if it holds fewer than half of the free ones: alone, a tenant
// gets half of all slots and a subject a third, and there is always a slot for a caller that
// holds none yet. It is safe for use by many goroutines.
type Slots struct {
	mu       sync.Mutex // guards the fields below
	free     int
	tenants  map[string]int
	subjects map[subject]int
}

type subject struct{ tenant, name string }

// FullError refuses another slot to a subject.
type FullError struct {
	Subject string
	Uses    string // what the slots are for
	Slots   int    // of all callers together
}

func (e *FullError) Error() string {
	return fmt.Sprintf("%s or its tenant has too many %s at a time, of the %d that all callers share: use fewer, or another gateway", e.Subject, e.Uses, e.Slots)
}

// New makes n slots.
func New(n int) *Slots {
	return &Slots{free: n, tenants: make(map[string]int), subjects: make(map[subject]int)}
}

// Take takes a slot for a subject of a tenant, and reports whether it got one. If so,
// release returns the slot.
func (s *Slots) Take(tenant, name string) (release func(), ok bool) {
	if !s.Enter(tenant, name) {
		return nil, false
	}
	return sync.OnceFunc(func() { s.Leave(tenant, name) }), true
}

// Enter is Take for uses that are too frequent to make a function each time: Leave returns
// the slot.
func (s *Slots) Enter(tenant, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := subject{tenant, name}
	if s.free == 0 || s.tenants[tenant] >= s.free || s.subjects[of] > 0 && 2*s.subjects[of] >= s.free {
		return false
	}
	s.free--
	s.tenants[tenant]++
	s.subjects[of]++
	return true
}

// Leave returns a slot. Call it once for each Enter that got one.
func (s *Slots) Leave(tenant, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := subject{tenant, name}
	s.free++
	if s.tenants[tenant]--; s.tenants[tenant] == 0 {
		delete(s.tenants, tenant)
	}
	if s.subjects[of]--; s.subjects[of] == 0 {
		delete(s.subjects, of)
	}
}
