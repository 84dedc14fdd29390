package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// sweepPause is the time from the end of one sweep of a store to the next: with it
// and the time that a sweep takes, drift is found within a minute.
const sweepPause = 20 * time.Second

// sweepAlways compares the store with the ledger, again and again, until ctx ends.
func (r *runner) sweepAlways(ctx context.Context) {
	for {
		sleep(ctx, sweepPause)
		if ctx.Err() != nil {
			return
		}
		s, err := r.sweep(ctx, "")
		if err == nil {
			err = r.enforce(ctx, s)
		}
		if n := len(s.uncompared); err == nil && n > 0 {
			err = fmt.Errorf("%d tenants or items could not be compared, for example %s", n, describe(s.uncompared[0]))
		}
		if err != nil && ctx.Err() == nil {
			r.fail(fmt.Errorf("sweep: %w", err))
		}
	}
}

func describe(u *stelev1.Uncompared) string {
	if u.Name == "" {
		return fmt.Sprintf("the items of %s: %s", u.Tenant, u.Reason)
	}
	return fmt.Sprintf("%s of %s: %s", u.Name, u.Tenant, u.Reason)
}

// checkable returns an error for a sink that cannot be compared with the ledger.
func (r *runner) checkable() error {
	switch {
	case !r.open.Load():
		return errNotOpen
	case r.store == nil:
		return ledger.Invalid("sink", fmt.Sprintf("%s gets events, and holds nothing that could drift", r.name))
	}
	return nil
}

// check compares the store with the ledger now: all of it, one tenant's part, or one
// item. It handles drift as the route specifies.
func (r *runner) check(ctx context.Context, t ledger.Tenant, name string) (*stelev1.CheckDriftResponse, error) {
	if err := r.checkable(); err != nil {
		return nil, err
	}
	compare := func() (*sweep, error) { return r.sweep(ctx, t) }
	if name != "" {
		compare = func() (*sweep, error) { return r.compare(ctx, t, name) }
	}
	s, err := compare()
	if err == nil {
		err = r.enforce(ctx, s)
	}
	if err != nil {
		return nil, err
	}
	resp := &stelev1.CheckDriftResponse{Compared: s.compared, Uncompared: s.uncompared[:min(len(s.uncompared), maxListed)], Stopped: r.stop.reason()}
	ctx, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	for _, f := range s.found[:min(len(s.found), maxListed)] {
		d := f.Drift
		if resp.Stopped == "" && f.do == routes.Repair {
			d = r.drift.outcome(ctx, d)
		}
		resp.Drift = append(resp.Drift, d)
	}
	return resp, nil
}

// repairTime is how long a check waits for the repair of its findings.
const repairTime = 5 * time.Second

// compare compares one item.
func (r *runner) compare(ctx context.Context, t ledger.Tenant, name string) (*sweep, error) {
	item, _, err := r.store.Read(ctx, name)
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		return nil, ledger.Invalid("name", refused.Reason)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case t != "" && item.Tenant != t:
		return nil, ledger.Invalid("name", fmt.Sprintf("%s is not an item of %s", name, t))
	}
	w, _, _, err := r.expected(ctx, item.Tenant, item.Key)
	if err != nil {
		return nil, err
	}
	if item.Revision <= w.Revision || !r.caughtUp(ctx, time.Now()) {
		item.Revision = 0
	}
	s := &sweep{compared: 1, single: true}
	f, err := r.confirm(ctx, item)
	if f != nil {
		s.found = append(s.found, f)
	}
	return s, err
}

// sweep is the result of one comparison.
type sweep struct {
	only       ledger.Tenant // empty: all
	single     bool          // only one item was compared
	compared   uint64
	found      []*finding
	uncompared []*stelev1.Uncompared
	expected   map[ledger.Tenant]expectation
}

// expectation counts the items that a store should hold of a tenant: items of routes
// that adopt drift, and of them the items whose deletions are adopted.
type expectation struct{ adopts, deletes int }

// finding is an item that has drifted, as it was seen.
type finding struct {
	*stelev1.Drift
	write  Write // what the ledger says
	item   Item
	there  bool
	routed bool // a route sends the key to the sink
	lost   bool // it is of a commit that the ledger does not have
	// The decision about it. Adopt deletes the key of a missing item only with
	// deletions.
	do        routes.Drift
	deletions bool
	prune     bool
}

// missing reports whether adopting the finding deletes its key.
func (f *finding) missing() bool { return !f.there || f.item.Value == "" }

// changed reports whether the finding counts toward the drift limit: it would change or
// delete a key of the ledger, by adoption. Additions do not count.
func (f *finding) changed() bool {
	return f.do == routes.Adopt && (f.Kind == stelev1.Drift_KIND_EDITED || f.Kind == stelev1.Drift_KIND_DELETED)
}

// missed notes what could not be compared.
func (s *sweep) missed(t ledger.Tenant, name string, why error) {
	s.uncompared = append(s.uncompared, &stelev1.Uncompared{Tenant: string(t), Name: name, Reason: why.Error(), Tried: timestamppb.Now()})
}

// sweep compares the items of a tenant, or of all. It continues past items that cannot
// be compared. The error comes from the runner, not from the store.
func (r *runner) sweep(ctx context.Context, only ledger.Tenant) (*sweep, error) {
	began := time.Now()
	s := &sweep{only: only, expected: make(map[ledger.Tenant]expectation)}
	for _, h := range r.p.cfg.Replica.Heads(only) {
		if only != "" && h.Tenant != only {
			break
		}
		suspects, err := r.suspects(ctx, h.Tenant, s)
		if err = s.note(ctx, h.Tenant, "", err); err != nil {
			return s, err
		}
		for _, item := range suspects {
			f, err := r.confirm(ctx, item)
			if err = s.note(ctx, h.Tenant, item.Name, err); err != nil {
				return s, err
			}
			if f != nil {
				s.found = append(s.found, f)
			}
		}
	}
	r.drift.swept(began, s)
	return s, nil
}

// note notes an error of the store, and returns one that ends the sweep.
func (s *sweep) note(ctx context.Context, t ledger.Tenant, name string, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errNotHeld):
		return err
	case err != nil:
		s.missed(t, name, err)
	}
	return nil
}

// enforce handles the findings as the routes specify. If that would adopt more than the
// drift limit the sink stops instead: a store that has lost its items must not delete
// them from the ledger.
func (r *runner) enforce(ctx context.Context, s *sweep) error {
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
	if r.stop.stopped() {
		return nil
	}
	if why := r.excess(s); why != "" {
		r.log.Error("the sink stops: it has lost or changed more than its drift limit", "reason", why)
		return r.stop.set(ctx, why)
	}
	return r.act(ctx, s)
}

// excess says how the findings exceed the drift limit; it is empty when they do not.
func (r *runner) excess(s *sweep) string {
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
	limit := r.table.Load().Sinks[r.name].DriftLimit
	n, total := r.drift.adopting(s, changed)
	if !limit.Exceeded(n, total) {
		return ""
	}
	return fmt.Sprintf("%d of %d items are missing or changed, %d of them missing; the drift limit is %d items and %v %%", n, total, missing, limit.Items, limit.Percent)
}

// resolve compares the store with the ledger now and handles drift as the request
// specifies. A stopped sink runs again, unless the drift of other tenants exceeds the
// limit.
func (r *runner) resolve(ctx context.Context, t ledger.Tenant, req *stelev1.ResolveDriftRequest) (*stelev1.ResolveDriftResponse, error) {
	if err := r.checkable(); err != nil {
		return nil, err
	}
	table, rev, err := r.p.cfg.Routes.Table()
	switch {
	case err != nil:
		return nil, err
	case uint64(rev) < req.RoutesRevision || table != r.table.Load():
		return nil, fmt.Errorf("%w: the process that writes to the sink does not use the new routes yet; try again", ledger.ErrUnavailable)
	}
	s, err := r.sweep(ctx, t)
	if err != nil {
		return nil, err
	}
	for _, f := range s.found {
		f.resolve(req)
	}
	if req.Resolution != stelev1.ResolveDriftRequest_RESOLUTION_PRUNE && r.stop.stopped() {
		left, total := r.drift.unresolved(t, func(k ledger.Key) bool {
			route := table.Route(k)
			return route.Wants(r.name) && route.Drift == routes.Adopt
		})
		if !table.Sinks[r.name].DriftLimit.Exceeded(left, total) {
			if err := r.stop.set(ctx, ""); err != nil {
				return nil, err
			}
		}
	}
	if err := r.act(ctx, s); err != nil {
		return nil, err
	}
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

// resolve handles the finding as a request specifies.
func (f *finding) resolve(req *stelev1.ResolveDriftRequest) {
	f.do = routes.Report
	switch {
	case req.Resolution == stelev1.ResolveDriftRequest_RESOLUTION_PRUNE:
		f.prune = f.Kind == stelev1.Drift_KIND_UNROUTED
	case !f.routed:
	case f.Kind == stelev1.Drift_KIND_FOREIGN && req.Resolution == stelev1.ResolveDriftRequest_RESOLUTION_REPAIR:
		// The ledger cannot bring it back: only a route says that it may go.
		if f.write.Route.Drift == routes.Repair {
			f.do = routes.Repair
		}
	case req.Resolution == stelev1.ResolveDriftRequest_RESOLUTION_REPAIR, f.missing() && !req.AdoptDeletions:
		f.do = routes.Repair
	default:
		f.do, f.deletions = routes.Adopt, req.AdoptDeletions
	}
}

// suspects are the items of a tenant that seem not to be as the ledger says, and
// those that should be there and are not.
func (r *runner) suspects(ctx context.Context, t ledger.Tenant, s *sweep) (suspects []Item, err error) {
	var settled ledger.Revision // when the scan begins, all up to it is in the store
	parked := make(map[ledger.Key]bool)
	err = r.call(ctx, func() {
		if l := r.queue.lines[t]; l != nil {
			settled = l.position()
		}
		for slot := range r.parked.letters {
			if slot.tenant == t {
				parked[slot.key] = true
			}
		}
	})
	if err != nil {
		return nil, err
	}
	found := make(map[ledger.Key]Item)
	err = r.store.Scan(ctx, t, func(item Item) error {
		switch {
		case item.Err != nil:
			s.missed(t, item.Name, item.Err)
			if item.Key != "" {
				found[item.Key] = item
			}
			return nil
		case item.Key == "":
			suspects = append(suspects, item)
		default:
			found[item.Key] = item
		}
		s.compared++
		return nil
	})
	if err != nil {
		return nil, err
	}
	scanned, ahead := time.Now(), false // ahead: some item is newer than what the replica has
	v, err := r.p.cfg.Replica.View(t, replica.At{})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	expected := expectation{}
	for is, err := range v.Changed(0, "") {
		if err != nil {
			return nil, err
		}
		key := is.Key
		item, there := found[key]
		w, ok, err := r.writeOf(v, t, key, is.Version)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue // an item of it does not belong there
		}
		delete(found, key)
		if item.Err != nil {
			continue
		}
		name, unnamed := r.store.Name(t, key)
		var refused *RefusedError
		switch err := r.disclose(ctx, &w); {
		case errors.As(err, &refused): // it is parked
			continue
		case err != nil:
			s.missed(t, name, err)
			continue
		}
		if is.Revision > settled || parked[key] {
			continue
		}
		if !w.Deleted() && w.Route.Drift == routes.Adopt {
			if expected.adopts++; w.Route.AdoptDeletions {
				expected.deletes++
			}
		}
		// The store cannot hold a key without a name; it is parked.
		if unnamed == nil && (r.verdict(w, ok, item, there) != stelev1.Drift_KIND_UNSPECIFIED || item.Revision > w.Revision) {
			suspect := Item{Tenant: t, Key: key, Name: name}
			if item.Revision > w.Revision {
				suspect.Revision, ahead = item.Revision, true
			}
			suspects = append(suspects, suspect)
		}
	}
	for _, item := range found {
		if item.Err == nil {
			suspects = append(suspects, item)
			ahead = ahead || item.Revision > 0 && r.table.Load().Route(item.Key).Wants(r.name)
		}
	}
	if !ahead || !r.caughtUp(ctx, scanned) {
		for i := range suspects {
			suspects[i].Revision = 0
		}
	}
	s.expected[t] = expected
	return suspects, nil
}

// verdict describes how an item differs from the ledger. ok is false for a key that
// does not belong to the sink.
func (r *runner) verdict(w Write, ok bool, item Item, there bool) stelev1.Drift_Kind {
	live := there && item.Value != ""
	switch {
	case !ok && live:
		return stelev1.Drift_KIND_FOREIGN
	case !ok: // a tombstone is not a setting
		return stelev1.Drift_KIND_UNSPECIFIED
	case w.Deleted() && live:
		return stelev1.Drift_KIND_EDITED
	case w.Deleted():
		return stelev1.Drift_KIND_UNSPECIFIED
	case !there:
		return stelev1.Drift_KIND_DELETED
	case !live || !r.store.Same(item, w):
		return stelev1.Drift_KIND_EDITED
	}
	return stelev1.Drift_KIND_UNSPECIFIED
}

// caughtUp waits until the replica holds all that the journal had at a time, and reports
// whether it does.
func (r *runner) caughtUp(ctx context.Context, at time.Time) bool {
	for end := time.Now().Add(catchUpTime); ; sleep(ctx, 20*time.Millisecond) {
		p, _ := r.p.cfg.Replica.Progress()
		switch {
		case p.Current.After(at):
			return true
		case ctx.Err() != nil, time.Now().After(end):
			return false
		}
	}
}

// catchUpTime is how long caughtUp waits. The journal is asked twice a second.
const catchUpTime = 5 * time.Second

// confirm reads an item again while no write to it is pending, and records it if it has
// drifted. seen.Revision is set if it is newer than the revision in a replica that has
// caught up.
func (r *runner) confirm(ctx context.Context, seen Item) (*finding, error) {
	before, ok, quiet, err := r.expected(ctx, seen.Tenant, seen.Key)
	if err != nil || !quiet {
		return nil, err
	}
	item, there, err := r.store.Read(ctx, seen.Name)
	if err != nil {
		return nil, err
	}
	after, okAfter, quiet, err := r.expected(ctx, seen.Tenant, seen.Key)
	if err != nil || !quiet || ok != okAfter || before.Revision != after.Revision {
		return nil, err // what has happened meanwhile is seen by the next sweep
	}
	kind := r.verdict(after, ok, item, there)
	// The replica has caught up since the item was seen, and no other process writes to the
	// sink: an item of a newer revision is of a history that the ledger had before it was
	// restored from a backup.
	lost := there && seen.Revision > 0 && item.Revision == seen.Revision && item.Revision > after.Revision
	if lost && kind == stelev1.Drift_KIND_UNSPECIFIED && item.Value != "" {
		kind = stelev1.Drift_KIND_EDITED
	}
	if kind == stelev1.Drift_KIND_UNSPECIFIED {
		r.drift.gone(seen.Tenant, seen.Name)
		return nil, nil
	}
	if !there {
		item = Item{Tenant: seen.Tenant, Key: seen.Key, Name: seen.Name}
	}
	f := &finding{write: after, item: item, there: there, routed: seen.Key != "" && after.Route.Wants(r.name), lost: lost, Drift: &stelev1.Drift{
		Tenant: string(seen.Tenant), Key: string(seen.Key), Name: seen.Name, Kind: kind, Revision: uint64(after.Revision),
		Action: stelev1.Drift_ACTION_REPORTED,
	}}
	if kind == stelev1.Drift_KIND_FOREIGN && item.Revision > 0 && !f.routed {
		// It is the projector's own, from when the routes sent the key here, and is
		// kept until it is pruned.
		f.Kind, f.Action = stelev1.Drift_KIND_UNROUTED, stelev1.Drift_ACTION_KEPT
		r.drift.note(f.Drift)
		return f, nil
	}
	if r.drift.note(f.Drift) {
		r.p.metrics.drifted(r.name, kindName(kind))
		if lost {
			r.log.Error("the ledger's history has changed: the item is of a commit that the ledger does not have, and is written again",
				"tenant", seen.Tenant, "key", seen.Key, "item", seen.Name, "revision", item.Revision, "newest", after.Revision)
			return f, nil
		}
		r.log.Warn("an item is not as the ledger says", "tenant", seen.Tenant, "key", seen.Key, "item", seen.Name, "kind", kindName(kind))
	}
	return f, nil
}

// expected is the ledger's value of a key, and whether the store must have it: no write
// of it is pending, and it is not parked.
func (r *runner) expected(ctx context.Context, t ledger.Tenant, key ledger.Key) (w Write, ok, quiet bool, err error) {
	if key == "" {
		return Write{Tenant: t}, false, true, nil
	}
	v, err := r.p.cfg.Replica.View(t, replica.At{})
	if err != nil {
		return w, false, false, err
	}
	defer v.Close()
	if w, ok, err = r.write(v, t, key); err == nil {
		err = r.disclose(ctx, &w)
	}
	var refused *RefusedError
	if errors.As(err, &refused) { // it is parked
		return w, ok, false, nil
	}
	if err != nil {
		return w, false, false, err
	}
	err = r.call(ctx, func() {
		l := r.queue.lines[t]
		_, parked := r.parked.letters[r.parked.slot(t, key, 0)]
		quiet = l != nil && l.entries[key] == nil && l.read >= w.Revision && !parked
	})
	return w, ok, quiet, err
}

func kindName(k stelev1.Drift_Kind) string {
	return map[stelev1.Drift_Kind]string{
		stelev1.Drift_KIND_EDITED: "edited", stelev1.Drift_KIND_DELETED: "deleted", stelev1.Drift_KIND_FOREIGN: "foreign",
	}[k]
}

// act handles each finding as decided.
func (r *runner) act(ctx context.Context, s *sweep) error {
	for _, f := range s.found {
		var action stelev1.Drift_Action
		var err error
		switch {
		case f.prune:
			action, err = stelev1.Drift_ACTION_PRUNED, r.store.Remove(ctx, f.item)
		case f.do == routes.Adopt:
			action, err = stelev1.Drift_ACTION_ADOPTED, r.adopt(ctx, f)
		case f.do == routes.Repair && f.write.Revision > 0:
			r.drift.repairing(f.write.Tenant, f.Name)
			if err := r.rewrite(ctx, f.write, &f.item); err != nil { // reported when the write is done
				return err
			}
			continue
		case f.do == routes.Repair:
			action, err = stelev1.Drift_ACTION_REPAIRED, r.store.Remove(ctx, f.item)
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
		r.drift.acted(f.write.Tenant, f.Name, action, err)
		if err == nil && f.do == routes.Adopt {
			if err := r.rewrite(ctx, f.write, &f.item); err != nil {
				return err
			}
		}
	}
	return nil
}

// rewrite has a key written in place of the found item.
func (r *runner) rewrite(ctx context.Context, w Write, found *Item) error {
	return r.call(ctx, func() {
		r.queue.again(r.queue.line(w.Tenant), w.Key, change{revision: w.Revision}, found)
	})
}

// adopt commits an item's value.
func (r *runner) adopt(ctx context.Context, f *finding) error {
	w := f.write
	switch {
	case r.p.cfg.Ledger == nil:
		return errors.New("this process takes no commits")
	case f.missing() && !f.deletions:
		return fmt.Errorf("the item is missing, and its route does not adopt deletions: set adopt_deletions, or run stele sinks repair %s, or stele sinks adopt %s --deletions", r.name, r.name)
	case f.item.Secret && !w.Route.Secret:
		return fmt.Errorf("the item is a secret, and its route is not: adopting it would write the value to the journal in clear; set secret and secure on a route for %s", w.Key)
	}
	ch := ledger.Change{Key: w.Key, Value: f.item.Value, Delete: f.missing()}
	before := w.Revision
	if w.Deleted() {
		before = 0
	}
	_, err := r.p.cfg.Ledger.Commit(ctx, w.Tenant, ledger.ChangeSet{
		Author:        "projector",
		Message:       fmt.Sprintf("take over what was changed in sink %s at %s", r.name, f.Name),
		Changes:       []ledger.Change{ch},
		Preconditions: []ledger.Precondition{{Key: w.Key, Revision: before}},
		Origin:        &ledger.DriftOrigin{Sink: r.name, Name: f.Name},
	})
	if err != nil {
		return fmt.Errorf("adopt %s: %w", f.Name, err)
	}
	return nil
}
