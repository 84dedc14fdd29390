package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/secret"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// check compares the store with the ledger now: all of it, one tenant's part, or one
// item. It handles drift as the route specifies, unless the request only asks for a report.
func (sw *sweeper) check(ctx context.Context, t ledger.Tenant, req *stelev1.CheckDriftRequest) (*stelev1.CheckDriftResponse, error) {
	if req.ReportOnly {
		return sw.report(ctx, t, req.Name)
	}
	s, err := sw.compareAndEnforce(ctx, t, req.Name)
	if err != nil {
		return nil, err
	}
	resp := &stelev1.CheckDriftResponse{Compared: s.compared, Uncompared: s.uncompared[:min(len(s.uncompared), maxListed)], Stopped: sw.stop.reason()}
	listed := s.found[:min(len(s.found), maxListed)]
	sw.await(ctx, listed)
	for _, f := range listed {
		resp.Drift = append(resp.Drift, f.Drift)
	}
	return resp, nil
}

// maxReported bounds the value of a report, which goes to the gateway in one message.
const maxReported = 512 << 10

// report compares one item, and shows the value that it has in the store. It handles nothing.
func (sw *sweeper) report(ctx context.Context, t ledger.Tenant, name string) (*stelev1.CheckDriftResponse, error) {
	if name == "" {
		return nil, ledger.Invalid("report_only", "name an item")
	}
	s, err := sw.compare(ctx, t, name)
	if err != nil {
		return nil, err
	}
	resp := &stelev1.CheckDriftResponse{Compared: s.compared, Stopped: sw.stop.reason()}
	for _, f := range s.found {
		resp.Drift = append(resp.Drift, f.Drift)
		switch v := f.item.Value; {
		case v == "" || f.item.Key == "" || len(v) > maxReported:
		case f.item.Secret || secret.Sealed(v) || f.write.Route != nil && f.write.Route.Secret:
			f.Value = string(secret.Mask)
		default:
			f.Value = string(v)
		}
	}
	return resp, nil
}

// await waits until the outcome of the repairs is known, for repairTime at most. A stopped
// sink repairs nothing.
func (sw *sweeper) await(ctx context.Context, found []*finding) {
	if sw.stop.stopped() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	for _, f := range found {
		if f.do == routes.Repair {
			f.Drift = sw.drift.outcome(ctx, f.Drift)
		}
	}
}

// compareAndEnforce compares one item, or a tenant's or all items if it has no name, and
// handles the findings. A single item does not wait for a running sweep.
func (sw *sweeper) compareAndEnforce(ctx context.Context, t ledger.Tenant, name string) (s *sweep, err error) {
	if name != "" {
		s, err = sw.compare(ctx, t, name)
	} else {
		end, turnErr := sw.takeTurn(ctx)
		if turnErr != nil {
			return nil, turnErr
		}
		defer end()
		s, err = sw.sweep(ctx, t)
	}
	if err != nil {
		return nil, err
	}
	return s, sw.enforce(ctx, s)
}

// repairTime is how long a check or resolution waits for the repair of its findings.
const repairTime = 5 * time.Second

// compare compares one item.
func (sw *sweeper) compare(ctx context.Context, t ledger.Tenant, name string) (*sweep, error) {
	item, _, err := sw.store.Read(ctx, name)
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		return nil, ledger.Invalid("name", refused.Reason)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case t != "" && item.Tenant != t:
		return nil, ledger.Invalid("name", fmt.Sprintf("%s is not an item of %s", name, t))
	}
	w, _, _, err := sw.expected(ctx, item.Tenant, item.Key)
	if err != nil {
		return nil, err
	}
	if item.Revision <= w.Revision || !sw.caughtUp(ctx, time.Now()) {
		item.Revision = 0
	}
	s := &sweep{compared: 1, single: true}
	f, err := sw.confirm(ctx, item)
	if f != nil {
		s.found = append(s.found, f)
	}
	return s, err
}

// enforce handles the findings as the routes specify. If that would adopt more than the
// drift limit the sink stops instead: a store that has lost its items must not delete
// them from the ledger.
func (sw *sweeper) enforce(ctx context.Context, s *sweep) error {
	for _, f := range s.found {
		f.do = routes.Report
		if !f.routed {
			continue
		}
		if f.lost { // the ledger was restored: what it says is meant
			f.do = routes.Repair
			continue
		}
		f.do, f.deletions = f.write.Route.Drift, f.write.Route.AdoptDeletions
		if s.single && f.do == routes.Adopt && f.missing() {
			f.do = routes.Report // a sweep decides: it sees whether others are also missing
		}
	}
	if sw.stop.stopped() {
		return nil
	}
	if why := sw.excess(s); why != "" {
		sw.log.Error("the sink stops: it has lost or changed more than its drift limit", "reason", why)
		return sw.stop.set(ctx, why)
	}
	return sw.act(ctx, s)
}

// excess says how the findings exceed the drift limit; it is empty when they do not.
func (sw *sweeper) excess(s *sweep) string {
	changed, missing := 0, 0
	lost := make(map[ledger.Tenant]int)
	for _, f := range s.found {
		if !f.changed() {
			continue
		}
		changed++
		if f.missing() {
			missing++
			if f.deletions {
				lost[f.write.Tenant]++
			}
		}
	}
	for t, n := range lost {
		if n > 1 && n >= s.expected[t].deletes {
			return fmt.Sprintf("all %d items of %s are missing", n, t)
		}
	}
	limit := sw.table.Load().Sinks[sw.name].DriftLimit
	n, total := sw.drift.adopting(changed)
	if !limit.Exceeded(n, total) {
		return ""
	}
	return fmt.Sprintf("%d of %d items are missing or changed, %d of them missing; the drift limit is %d items and %v %%", n, total, missing, limit.Items, limit.Percent)
}

// toResolve compares what a request resolves: one item, or all of a tenant's.
func (sw *sweeper) toResolve(ctx context.Context, t ledger.Tenant, name string) (*sweep, error) {
	switch {
	case name == "":
		return sw.sweep(ctx, t)
	case sw.stop.stopped():
		return nil, ledger.Invalid("name", fmt.Sprintf("sink %s has stopped: adopt or repair all of its drift", sw.name))
	}
	return sw.compare(ctx, t, name)
}

// resolve compares the store with the ledger now and handles drift as the request
// specifies. A stopped sink runs again, unless the drift of other tenants exceeds the
// limit.
func (sw *sweeper) resolve(ctx context.Context, t ledger.Tenant, req *stelev1.ResolveDriftRequest) (*stelev1.ResolveDriftResponse, error) {
	table, rev, err := sw.p.cfg.Routes.Table()
	switch {
	case err != nil:
		return nil, err
	case uint64(rev) < req.RoutesRevision || table != sw.table.Load():
		return nil, fmt.Errorf("%w: the process that writes to the sink does not use the new routes yet; try again", ledger.ErrUnavailable)
	}
	end, err := sw.takeTurn(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	s, err := sw.toResolve(ctx, t, req.Name)
	if err != nil {
		return nil, err
	}
	for _, f := range s.found {
		f.resolve(req)
	}
	if req.Resolution != stelev1.ResolveDriftRequest_RESOLUTION_PRUNE && sw.stop.stopped() {
		left, total := sw.drift.unresolved(t, func(k ledger.Key) bool {
			route := table.Route(k)
			return route.Wants(sw.name) && route.Drift == routes.Adopt
		})
		if !table.Sinks[sw.name].DriftLimit.Exceeded(left, total) {
			if err := sw.stop.set(ctx, ""); err != nil {
				return nil, err
			}
		}
	}
	if err := sw.act(ctx, s); err != nil {
		return nil, err
	}
	sw.await(ctx, s.found)
	resp := &stelev1.ResolveDriftResponse{Compared: s.compared, Uncompared: s.uncompared[:min(len(s.uncompared), maxListed)]}
	for _, f := range s.found {
		if (f.prune || f.do != routes.Report) && f.Failure == "" {
			resp.Resolved++
		}
		if len(resp.Drift) < maxListed {
			resp.Drift = append(resp.Drift, f.Drift)
		}
	}
	return resp, nil
}

// act handles each finding as decided.
func (sw *sweeper) act(ctx context.Context, s *sweep) error {
	for _, f := range s.found {
		var action stelev1.Drift_Action
		var err error
		switch {
		case f.prune:
			action, err = stelev1.Drift_ACTION_PRUNED, sw.store.Remove(ctx, f.item)
		case f.do == routes.Adopt:
			sw.drift.handling(f.write.Tenant, f.Name)
			action, err = stelev1.Drift_ACTION_ADOPTED, sw.adopt(ctx, f)
		case f.do == routes.Repair && f.write.Revision > 0:
			sw.drift.handling(f.write.Tenant, f.Name)
			if err := sw.rewrite(ctx, f.write, &f.item); err != nil { // reported when the write is done
				return err
			}
			continue
		case f.do == routes.Repair:
			action, err = stelev1.Drift_ACTION_REPAIRED, sw.store.Remove(ctx, f.item)
		default:
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			f.Failure = err.Error()
		} else {
			f.Action = action
		}
		sw.drift.acted(f.write.Tenant, f.Name, action, err)
		if err == nil && f.do == routes.Adopt {
			if err := sw.rewrite(ctx, f.write, &f.item); err != nil {
				return err
			}
		}
	}
	return nil
}

// rewrite has a key written in place of the found item.
func (sw *sweeper) rewrite(ctx context.Context, w Write, found *Item) error {
	return sw.writer.call(ctx, func() {
		sw.writer.queue.again(sw.writer.queue.line(w.Tenant), w.Key, change{revision: w.Revision}, found)
	})
}

// adopt commits an item's value.
func (sw *sweeper) adopt(ctx context.Context, f *finding) error {
	w := f.write
	switch {
	case sw.p.cfg.Ledger == nil:
		return errors.New("this process takes no commits")
	case f.missing() && !f.deletions:
		return fmt.Errorf("the item is missing, and its route does not adopt deletions: set adopt_deletions, or run stele sinks repair %s, or stele sinks adopt %s --deletions", sw.name, sw.name)
	case f.item.Secret && !w.Route.Secret:
		return fmt.Errorf("the item is a secret, and its route is not: adopting it would write the value to the journal in clear; set secret and secure on a route for %s", w.Key)
	}
	ch := ledger.Change{Key: w.Key, Value: f.item.Value, Delete: f.missing()}
	before := w.Revision
	if w.Deleted() {
		before = 0
	}
	_, err := sw.p.cfg.Ledger.Commit(ctx, w.Tenant, ledger.ChangeSet{
		Author:        "projector",
		Message:       fmt.Sprintf("take over what was changed in sink %s at %s", sw.name, f.Name),
		Changes:       []ledger.Change{ch},
		Preconditions: []ledger.Precondition{{Key: w.Key, Revision: before}},
		Origin:        &ledger.DriftOrigin{Sink: sw.name, Name: f.Name},
	})
	if err != nil {
		return fmt.Errorf("adopt %s: %w", f.Name, err)
	}
	return nil
}
