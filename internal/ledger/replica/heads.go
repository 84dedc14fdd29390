package replica

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/stelehq/stele/internal/ledger"
)

// current is the state of all tenants at their heads, as it is in the store.
type current struct {
	// store is replaced when its file is rebuilt; nil until there is one.
	store atomic.Pointer[store]
}

// Head is the tenant's newest commit that the replica holds.
func (r *current) Head(t ledger.Tenant) ledger.Head {
	if s := r.store.Load(); s != nil {
		return s.head(t)
	}
	return ledger.Head{}
}

// SystemHead is the head of the ledger's own tenant. Several steps of every call compare it, so
// it takes no lock.
func (r *current) SystemHead() ledger.Revision {
	if s := r.store.Load(); s != nil {
		return ledger.Revision(s.system.Load())
	}
	return 0
}

// Epoch is the identity of the ledger that the replica is of; zero before the
// first Follow.
func (r *current) Epoch() ledger.Epoch {
	if s := r.store.Load(); s != nil {
		return s.epoch
	}
	return ledger.Epoch{}
}

// Tenants returns how many tenants have a commit.
func (r *current) Tenants() int {
	s := r.store.Load()
	if s == nil {
		return 0
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	for _, ts := range s.tenants {
		if ts.head.Revision > 0 {
			n++
		}
	}
	return n
}

// Heads are the newest commits of the tenants from the first at or after a name,
// sorted by name; the ledger's own tenants are left out.
func (r *current) Heads(from ledger.Tenant) []TenantHead {
	s := r.store.Load()
	if s == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.heads(func(t ledger.Tenant) bool { return t >= from && !t.Reserved() })
}

// heads are the newest commits of the tenants that are wanted, sorted by name. s.mu is
// held.
func (s *tenantStates) heads(wanted func(ledger.Tenant) bool) []TenantHead {
	var out []TenantHead
	for t, ts := range s.tenants {
		if ts.head.Revision > 0 && wanted(t) {
			out = append(out, TenantHead{t, ts.head})
		}
	}
	slices.SortFunc(out, func(a, b TenantHead) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return out
}

// AllHeads are the newest commits of all tenants, including the ledger's own, and the
// position at which they were the newest.
func (r *current) AllHeads() ([]TenantHead, ledger.Sequence) {
	s := r.store.Load()
	if s == nil {
		return nil, 0
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.heads(func(ledger.Tenant) bool { return true }), s.position
}

// TenantHead is a tenant's newest commit.
type TenantHead struct {
	Tenant ledger.Tenant
	Head   ledger.Head
}

// tenantStates is the state of the tenants in a store. The store's mu is held while a method
// runs, or the store is being opened.
type tenantStates struct {
	tenants map[ledger.Tenant]*tenantState
	// heirs are the tenants that have a tenant as a base, at their heads.
	heirs map[ledger.Tenant]map[ledger.Tenant]bool
}

type tenantState struct {
	tenantRecord
	// start is the first revision that readers may ask for. It is at or after kept: it
	// moves before the file loses older history.
	start ledger.Revision
	// moved is closed when the head moves; nil while no reader waits.
	moved chan struct{}
	// bases are those of the head.
	bases baseList
}

// tenant is the tenant's state, which is created if it does not exist. s.mu is held.
func (s *tenantStates) tenant(t ledger.Tenant) *tenantState {
	ts := s.tenants[t]
	if ts == nil {
		ts = &tenantState{tenantRecord: tenantRecord{kept: 1}, start: 1}
		s.tenants[t] = ts
	}
	return ts
}

func (s *tenantStates) headLocked(t ledger.Tenant) ledger.Head {
	if ts := s.tenants[t]; ts != nil {
		return ts.head
	}
	return ledger.Head{}
}
