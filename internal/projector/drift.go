package projector

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// drifts are the differences that drift detection has found between a store and the ledger.
type drifts struct {
	mu    sync.Mutex // guards all below
	items map[driftKey]*drifted
	last  time.Time // when the last sweep of everything began
	// uncompared is what the last sweep of each tenant could not compare.
	uncompared []*stelev1.Uncompared
	// expected is the number of items that the store should have, as of the last sweep
	// of each tenant, and adopted the number of changes adopted since the last complete
	// sweep.
	expected map[ledger.Tenant]expectation
	adopted  int
}

type driftKey struct {
	tenant ledger.Tenant
	name   string
}

type drifted struct {
	*stelev1.Drift
	seen time.Time // last
	// handling is set while the item is being adopted or written again: until the outcome
	// is known it is a pending write, and not drift.
	handling bool
}

const (
	// remembered is how long repaired or adopted drift is listed.
	remembered = time.Hour
	// repairKept is how long a finding is kept whose repair has no outcome yet.
	repairKept = time.Minute
	// maxListed is the maximal length of a list.
	maxListed = 1000
)

// note remembers a finding, and reports whether it is new.
func (d *drifts) note(f *stelev1.Drift) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.items == nil {
		d.items = make(map[driftKey]*drifted)
	}
	now := time.Now()
	k := driftKey{ledger.Tenant(f.Tenant), f.Name}
	was := d.items[k]
	f.Found = timestamppb.New(now)
	again := was != nil && was.Kind == f.Kind && !resolved(was.Drift)
	if again {
		f.Found = was.Found
	}
	d.items[k] = &drifted{Drift: proto.CloneOf(f), seen: now}
	return !again
}

func resolved(f *stelev1.Drift) bool {
	return f.Action != stelev1.Drift_ACTION_REPORTED
}

// open reports whether the finding still needs a decision.
func (f *drifted) open() bool { return !f.handling && !resolved(f.Drift) }

// handling records that a finding is being adopted or written again.
func (d *drifts) handling(t ledger.Tenant, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.items[driftKey{t, name}]; f != nil {
		f.handling = true
	}
}

// acted notes what became of a finding.
func (d *drifts) acted(t ledger.Tenant, name string, action stelev1.Drift_Action, failure error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.items[driftKey{t, name}]
	if f == nil {
		return
	}
	f.handling = false
	if failure != nil {
		f.Failure = failure.Error()
		return
	}
	if f.Action != stelev1.Drift_ACTION_ADOPTED { // and then written over
		f.Action = action
	}
	f.Failure = ""
}

// outcome is what became of a finding, as soon as that is known, or when ctx ends.
func (d *drifts) outcome(ctx context.Context, f *stelev1.Drift) *stelev1.Drift {
	for {
		d.mu.Lock()
		if is := d.items[driftKey{ledger.Tenant(f.Tenant), f.Name}]; is != nil {
			f = proto.CloneOf(is.Drift)
		}
		d.mu.Unlock()
		if ctx.Err() != nil || resolved(f) || f.Failure != "" {
			return f
		}
		sleep(ctx, 10*time.Millisecond)
	}
}

// gone removes a finding that no longer applies.
func (d *drifts) gone(t ledger.Tenant, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k := (driftKey{t, name}); d.items[k] != nil && d.items[k].open() {
		delete(d.items, k)
	}
}

// swept records the findings of a sweep, and removes those that it has not found again.
// Findings about items that it could not compare stay.
func (d *drifts) swept(began time.Time, s *sweep) {
	d.mu.Lock()
	defer d.mu.Unlock()
	concerns := func(t ledger.Tenant) bool { return s.only == "" || s.only == t }
	missed := make(map[driftKey]bool)
	for _, u := range s.uncompared {
		missed[driftKey{ledger.Tenant(u.Tenant), u.Name}] = true
	}
	for k, f := range d.items {
		if !concerns(k.tenant) || !f.seen.Before(began) || f.handling && time.Since(f.seen) < repairKept || missed[k] || missed[driftKey{tenant: k.tenant}] {
			continue
		}
		if f.Action == stelev1.Drift_ACTION_KEPT || !resolved(f.Drift) || time.Since(f.seen) > remembered {
			delete(d.items, k)
		}
	}
	d.uncompared = slices.DeleteFunc(d.uncompared, func(u *stelev1.Uncompared) bool { return concerns(ledger.Tenant(u.Tenant)) })
	d.uncompared = append(d.uncompared, s.uncompared...)
	if s.only == "" {
		d.last, d.adopted, d.expected = began, 0, nil
	}
	if d.expected == nil {
		d.expected = make(map[ledger.Tenant]expectation)
	}
	maps.Copy(d.expected, s.expected)
}

// adopting counts changes that are about to be adopted, and returns how many that are
// since the last sweep of everything, and how many items the store should hold.
func (d *drifts) adopting(changes int) (n, total int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.adopted += changes
	for _, e := range d.expected {
		total += e.adopts
	}
	return d.adopted, total
}

// unresolved counts the items of other tenants that are missing or changed, of keys
// that adopt says drift is adopted for, and the items that the store should hold.
func (d *drifts) unresolved(except ledger.Tenant, adopt func(ledger.Key) bool) (n, total int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for k, f := range d.items {
		if except == "" || k.tenant == except || resolved(f.Drift) || !adopt(ledger.Key(f.Key)) {
			continue
		}
		if f.Kind == stelev1.Drift_KIND_EDITED || f.Kind == stelev1.Drift_KIND_DELETED {
			n++
		}
	}
	for _, e := range d.expected {
		total += e.adopts
	}
	return n, total
}

// countUncompared is how much of the tenant, or of all for "", could not be compared.
func (d *drifts) countUncompared(t ledger.Tenant) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, u := range d.uncompared {
		if t == "" || u.Tenant == string(t) {
			n++
		}
	}
	return n
}

func (d *drifts) lastSwept() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// count is how many items of the tenant, or of all for "", are not as the ledger
// says.
func (d *drifts) count(t ledger.Tenant) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for k, f := range d.items {
		if (t == "" || k.tenant == t) && f.open() {
			n++
		}
	}
	return n
}

// of lists the findings of the tenant, or all for "".
func (d *drifts) of(t ledger.Tenant) *stelev1.ListDriftResponse {
	d.mu.Lock()
	defer d.mu.Unlock()
	resp := &stelev1.ListDriftResponse{}
	for k, f := range d.items {
		if (t == "" || k.tenant == t) && !f.handling {
			resp.Drift = append(resp.Drift, proto.CloneOf(f.Drift))
		}
	}
	for _, u := range d.uncompared {
		if (t == "" || u.Tenant == string(t)) && len(resp.Uncompared) < maxListed {
			resp.Uncompared = append(resp.Uncompared, u)
		}
	}
	if !d.last.IsZero() {
		resp.Checked = timestamppb.New(d.last)
	}
	slices.SortFunc(resp.Drift, func(a, b *stelev1.Drift) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Name, b.Name))
	})
	if len(resp.Drift) > maxListed {
		resp.Drift, resp.More = resp.Drift[:maxListed], true
	}
	return resp
}
