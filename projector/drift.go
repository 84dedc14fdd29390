package projector

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// drifts are what was found in a store that the ledger does not say.
type drifts struct {
	mu    sync.Mutex // guards all below
	items map[driftKey]*drifted
	last  time.Time // when the last sweep of everything began
}

type driftKey struct {
	tenant ledger.Tenant
	name   string
}

type drifted struct {
	*stelev1.Drift
	seen time.Time // last
}

const (
	// remembered is how long what was repaired or adopted is told.
	remembered = time.Hour
	// told is the most that a list holds.
	told = 1000
)

// note remembers a finding, and says whether it is new.
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
	d.items[k] = &drifted{proto.CloneOf(f), now}
	return !again
}

func resolved(f *stelev1.Drift) bool {
	return f.Action == stelev1.Drift_ACTION_REPAIRED || f.Action == stelev1.Drift_ACTION_ADOPTED
}

// acted notes what became of a finding.
func (d *drifts) acted(t ledger.Tenant, name string, action stelev1.Drift_Action, failure error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.items[driftKey{t, name}]
	if f == nil {
		return
	}
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

// gone forgets a finding that is none any more.
func (d *drifts) gone(t ledger.Tenant, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k := (driftKey{t, name}); d.items[k] != nil && !resolved(d.items[k].Drift) {
		delete(d.items, k)
	}
}

// swept forgets, after a sweep of everything, what that has not found again.
func (d *drifts) swept(began time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = began
	for k, f := range d.items {
		if f.seen.Before(began) && (!resolved(f.Drift) || time.Since(f.seen) > remembered) {
			delete(d.items, k)
		}
	}
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
		if (t == "" || k.tenant == t) && !resolved(f.Drift) {
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
		if t == "" || k.tenant == t {
			resp.Drift = append(resp.Drift, proto.CloneOf(f.Drift))
		}
	}
	slices.SortFunc(resp.Drift, func(a, b *stelev1.Drift) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Name, b.Name))
	})
	if len(resp.Drift) > told {
		resp.Drift, resp.More = resp.Drift[:told], true
	}
	return resp
}
