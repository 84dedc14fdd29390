// Package share divides a number of places among tenants and their subjects, so that none
// of them keeps the others out.
package share

import "sync"

// Places are a number of places. A tenant gets another one while it holds fewer than are
// free, and a subject while it holds fewer than half of those: alone, a tenant gets a half
// of all and a subject a third, and there is always a place for a caller that holds none
// yet. It is safe for use by many goroutines.
type Places struct {
	mu       sync.Mutex // guards the fields below
	free     int
	tenants  map[string]int
	subjects map[subject]int
}

type subject struct{ tenant, name string }

// New makes n places.
func New(n int) *Places {
	return &Places{free: n, tenants: make(map[string]int), subjects: make(map[subject]int)}
}

// Take takes a place for a subject of a tenant, and reports whether there was one. If so,
// release gives it back.
func (p *Places) Take(tenant, name string) (release func(), ok bool) {
	if !p.Enter(tenant, name) {
		return nil, false
	}
	return sync.OnceFunc(func() { p.Leave(tenant, name) }), true
}

// Enter is Take for what is too frequent to make a function each time: Leave gives the place back.
func (p *Places) Enter(tenant, name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := subject{tenant, name}
	if p.free == 0 || p.tenants[tenant] >= p.free || p.subjects[s] > 0 && 2*p.subjects[s] >= p.free {
		return false
	}
	p.free--
	p.tenants[tenant]++
	p.subjects[s]++
	return true
}

// Leave gives back a place. Call it once for each Enter that got one.
func (p *Places) Leave(tenant, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := subject{tenant, name}
	p.free++
	if p.tenants[tenant]--; p.tenants[tenant] == 0 {
		delete(p.tenants, tenant)
	}
	if p.subjects[s]--; p.subjects[s] == 0 {
		delete(p.subjects, s)
	}
}
