package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/replica"
	"github.com/stelehq/stele/ledger/routes"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
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
		if _, err := r.sweep(ctx, ""); err != nil && ctx.Err() == nil {
			r.fail(fmt.Errorf("sweep: %w", err))
		}
	}
}

// check compares the store with the ledger now: all of it, that of a tenant, or
// one item.
func (r *runner) check(ctx context.Context, t ledger.Tenant, name string) (*stelev1.CheckDriftResponse, error) {
	switch {
	case !r.open.Load():
		return nil, errNotOpen
	case r.store == nil:
		return nil, ledger.Invalid("sink", fmt.Sprintf("%s gets events, and holds nothing that could drift", r.name))
	}
	resp, err := r.compare(ctx, t, name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	for i, f := range resp.Drift {
		if route := r.table.Load().Route(ledger.Key(f.Key)); route.Wants(r.name) && route.Drift == routes.Repair {
			resp.Drift[i] = r.drift.outcome(ctx, f)
		}
	}
	return resp, nil
}

// repairTime is how long a check waits for what it has found to be repaired.
const repairTime = 5 * time.Second

func (r *runner) compare(ctx context.Context, t ledger.Tenant, name string) (*stelev1.CheckDriftResponse, error) {
	if name == "" {
		return r.sweep(ctx, t)
	}
	item, _, err := r.store.Read(ctx, name)
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		return nil, ledger.Invalid("name", refused.Reason)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case t != "" && item.Tenant != t:
		return nil, ledger.Invalid("name", fmt.Sprintf("%s is no item of %s", name, t))
	}
	resp := &stelev1.CheckDriftResponse{Compared: 1}
	f, err := r.confirm(ctx, item)
	if f != nil {
		resp.Drift = append(resp.Drift, f)
	}
	return resp, err
}

// sweep compares the items of a tenant, or of all, and does about what has drifted
// what the route says.
func (r *runner) sweep(ctx context.Context, only ledger.Tenant) (*stelev1.CheckDriftResponse, error) {
	began := time.Now()
	resp := &stelev1.CheckDriftResponse{}
	for _, h := range r.p.cfg.Replica.Heads(only) {
		if only != "" && h.Tenant != only {
			break
		}
		suspects, compared, err := r.suspects(ctx, h.Tenant)
		if err != nil {
			return nil, fmt.Errorf("compare the items of %s: %w", h.Tenant, err)
		}
		resp.Compared += compared
		for _, item := range suspects {
			f, err := r.confirm(ctx, item)
			if err != nil {
				return nil, fmt.Errorf("look at %s again: %w", item.Name, err)
			}
			if f != nil && len(resp.Drift) < told {
				resp.Drift = append(resp.Drift, f)
			}
		}
	}
	if only == "" {
		r.drift.swept(began)
	}
	return resp, nil
}

// suspects are the items of a tenant that seem not to be as the ledger says, and
// those that should be there and are not.
func (r *runner) suspects(ctx context.Context, t ledger.Tenant) (suspects []Item, compared uint64, err error) {
	var settled ledger.Revision // when the scan begins, all up to it is in the store
	err = r.call(ctx, func() {
		if l := r.queue.lines[t]; l != nil {
			settled = l.position()
		}
	})
	if err != nil {
		return nil, 0, err
	}
	found := make(map[ledger.Key]Item)
	err = r.store.Scan(ctx, t, func(item Item) error {
		if item.Key == "" {
			suspects = append(suspects, item)
		} else {
			found[item.Key] = item
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	compared = uint64(len(suspects) + len(found))
	v, err := r.p.cfg.Replica.View(t, replica.At{})
	if err != nil {
		return nil, 0, err
	}
	defer v.Close()
	var failed error
	err = v.Changed(0, "", func(key ledger.Key, is ledger.Version) bool {
		item, there := found[key]
		var w Write
		var ok bool
		if w, ok, failed = r.writeOf(v, t, key, is); failed != nil {
			return false
		}
		if !ok {
			return true // an item of it does not belong there
		}
		delete(found, key)
		var refused *RefusedError
		switch failed = r.disclose(ctx, &w); {
		case errors.As(failed, &refused): // it is parked
			failed = nil
			return true
		case failed != nil:
			return false
		}
		if is.Revision > settled || r.verdict(w, ok, item, there) == stelev1.Drift_KIND_UNSPECIFIED {
			return true
		}
		name, err := r.store.Name(t, key)
		if err == nil { // the store cannot hold the others; they are parked
			suspects = append(suspects, Item{Tenant: t, Key: key, Name: name})
		}
		return true
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, 0, err
	}
	for _, item := range found {
		suspects = append(suspects, item)
	}
	return suspects, compared, nil
}

// verdict says how an item differs from what the ledger says. ok is false for a key
// that is not the sink's.
func (r *runner) verdict(w Write, ok bool, item Item, there bool) stelev1.Drift_Kind {
	live := there && item.Value != ""
	switch {
	case !ok && live:
		return stelev1.Drift_KIND_FOREIGN
	case !ok: // a tombstone is nobody's setting
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

// confirm looks at an item again, while nobody writes to it, and acts when it has
// drifted.
func (r *runner) confirm(ctx context.Context, seen Item) (*stelev1.Drift, error) {
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
	if kind == stelev1.Drift_KIND_UNSPECIFIED {
		r.drift.gone(seen.Tenant, seen.Name)
		return nil, nil
	}
	if kind == stelev1.Drift_KIND_FOREIGN && item.Revision > 0 {
		// It is the projector's own, from when the routes sent the key here.
		return nil, r.store.Remove(ctx, item)
	}
	f := &stelev1.Drift{
		Tenant: string(seen.Tenant), Key: string(seen.Key), Name: seen.Name, Kind: kind, Revision: uint64(after.Revision),
		Action: stelev1.Drift_ACTION_REPORTED,
	}
	if r.drift.note(f) {
		r.p.metrics.drifted(r.name, kindName(kind))
		r.log.Warn("an item is not as the ledger says", "tenant", seen.Tenant, "key", seen.Key, "item", seen.Name, "kind", kindName(kind))
	}
	return f, r.act(ctx, f, after, item, there)
}

// expected is what the ledger says of a key, and whether the store must have it:
// nothing of it waits, and it is not parked.
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

// act does about drift what the key's route says.
func (r *runner) act(ctx context.Context, f *stelev1.Drift, w Write, item Item, there bool) error {
	route := r.table.Load().Route(w.Key)
	if w.Key == "" || !route.Wants(r.name) {
		return nil
	}
	if !there {
		item = Item{Tenant: w.Tenant, Key: w.Key, Name: f.Name}
	}
	var err error
	switch route.Drift {
	case routes.Report:
		return nil
	case routes.Adopt:
		if err = r.adopt(ctx, w, item, there); err == nil {
			f.Action = stelev1.Drift_ACTION_ADOPTED
			r.drift.acted(w.Tenant, f.Name, f.Action, nil)
			return r.rewrite(ctx, w, &item)
		}
	case routes.Repair:
		if w.Revision > 0 {
			return r.rewrite(ctx, w, &item) // it is told when that is done
		}
		if err = r.store.Remove(ctx, item); err == nil {
			f.Action = stelev1.Drift_ACTION_REPAIRED
			r.drift.acted(w.Tenant, f.Name, f.Action, nil)
		}
	}
	if err != nil {
		f.Failure = err.Error()
		r.drift.acted(w.Tenant, f.Name, f.Action, err)
	}
	return nil
}

// rewrite has a key written in place of what was found there.
func (r *runner) rewrite(ctx context.Context, w Write, found *Item) error {
	return r.call(ctx, func() {
		r.queue.again(r.queue.line(w.Tenant), w.Key, change{revision: w.Revision}, found)
	})
}

// adopt commits what an item says.
func (r *runner) adopt(ctx context.Context, w Write, item Item, there bool) error {
	if r.p.cfg.Ledger == nil {
		return errors.New("this process takes no commits")
	}
	ch := ledger.Change{Key: w.Key, Value: item.Value, Delete: !there || item.Value == ""}
	before := w.Revision
	if w.Deleted() {
		before = 0
	}
	_, err := r.p.cfg.Ledger.Commit(ctx, w.Tenant, ledger.ChangeSet{
		Author:        "projector",
		Message:       fmt.Sprintf("take over what was changed in sink %s at %s", r.name, item.Name),
		Changes:       []ledger.Change{ch},
		Preconditions: []ledger.Precondition{{Key: w.Key, Revision: before}},
		Origin:        &ledger.DriftOrigin{Sink: r.name, Name: item.Name},
	})
	if err != nil {
		return fmt.Errorf("adopt %s: %w", item.Name, err)
	}
	return nil
}
