package projector

import (
	"context"
	"errors"
	"fmt"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

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

// verdict describes how an item differs from the ledger. ok is false for a key that
// does not belong to the sink.
func (sw *sweeper) verdict(w Write, ok bool, item Item, there bool) stelev1.Drift_Kind {
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
	case !live || !sw.store.Same(item, w):
		return stelev1.Drift_KIND_EDITED
	}
	return stelev1.Drift_KIND_UNSPECIFIED
}

// writtenFor is the write of an inherited value that its item must equal. If a pin has moved
// since without changing the value, the item was not written again: it is the one of its own
// revision.
func writtenFor(v *replica.View, w Write, item Item) (Write, error) {
	if !w.Base.Inherited() || item.Revision == 0 || item.Revision >= w.Revision {
		return w, nil
	}
	err := w.commitOf(v, item.Revision)
	return w, err
}

// writtenFor is the function of that name in the newest state.
func (sw *sweeper) writtenFor(w Write, item Item) (Write, error) {
	v, err := sw.p.cfg.Replica.View(w.Tenant, replica.At{})
	if err != nil {
		return w, fmt.Errorf("read %s: %w", w.Tenant, err)
	}
	defer v.Close()
	if w, err = writtenFor(v, w, item); err != nil {
		return w, fmt.Errorf("read %s of %s: %w", w.Key, w.Tenant, err)
	}
	return w, nil
}

// confirm reads an item again while no write to it is pending, and records it if it has
// drifted. seen.Revision is set if it is newer than the revision in a replica that has
// caught up.
func (sw *sweeper) confirm(ctx context.Context, seen Item) (*finding, error) {
	before, ok, quiet, err := sw.expected(ctx, seen.Tenant, seen.Key)
	if err != nil || !quiet {
		return nil, err
	}
	item, there, err := sw.store.Read(ctx, seen.Name)
	if err != nil {
		return nil, err
	}
	after, okAfter, quiet, err := sw.expected(ctx, seen.Tenant, seen.Key)
	if err != nil || !quiet || ok != okAfter || before.Revision != after.Revision {
		return nil, err // what has happened meanwhile is seen by the next sweep
	}
	was, err := sw.writtenFor(after, item)
	if err != nil {
		return nil, err
	}
	kind := sw.verdict(was, ok, item, there)
	// The replica has caught up since the item was seen, and no other process writes to the
	// sink: an item of a newer revision is of a history that the ledger had before it was
	// restored from a backup.
	lost := there && seen.Revision > 0 && item.Revision == seen.Revision && item.Revision > after.Revision
	if lost && kind == stelev1.Drift_KIND_UNSPECIFIED && item.Value != "" {
		kind = stelev1.Drift_KIND_EDITED
	}
	if kind == stelev1.Drift_KIND_UNSPECIFIED {
		sw.drift.gone(seen.Tenant, seen.Name)
		return nil, nil
	}
	if !there {
		item = Item{Tenant: seen.Tenant, Key: seen.Key, Name: seen.Name}
	}
	f := &finding{write: after, item: item, there: there, routed: seen.Key != "" && after.Route.Wants(sw.name), lost: lost, Drift: &stelev1.Drift{
		Tenant: string(seen.Tenant), Key: string(seen.Key), Name: seen.Name, Kind: kind, Revision: uint64(after.Revision),
		Action: stelev1.Drift_ACTION_REPORTED,
	}}
	if kind == stelev1.Drift_KIND_FOREIGN && item.Revision > 0 && !f.routed {
		// It is the projector's own, from when the routes sent the key here, and is
		// kept until it is pruned.
		f.Kind, f.Action = stelev1.Drift_KIND_UNROUTED, stelev1.Drift_ACTION_KEPT
		sw.drift.note(f.Drift)
		return f, nil
	}
	if sw.drift.note(f.Drift) {
		sw.p.metrics.drifted(sw.name, kindName(kind))
		if lost {
			sw.log.Error("the ledger's history has changed: the item is of a commit that the ledger does not have, and is written again",
				"tenant", seen.Tenant, "key", seen.Key, "item", seen.Name, "revision", item.Revision, "newest", after.Revision)
			return f, nil
		}
		sw.log.Warn("an item is not as the ledger says", "tenant", seen.Tenant, "key", seen.Key, "item", seen.Name, "kind", kindName(kind))
	}
	return f, nil
}

// expected is the ledger's value of a key, and whether the store must have it: no write
// of it is pending, and it is not parked.
func (sw *sweeper) expected(ctx context.Context, t ledger.Tenant, key ledger.Key) (w Write, ok, quiet bool, err error) {
	if key == "" {
		return Write{Tenant: t}, false, true, nil
	}
	if w, ok, err = sw.newest(t, key); err == nil {
		err = sw.disclose(ctx, &w)
	}
	var refused *RefusedError
	if errors.As(err, &refused) { // it is parked
		return w, ok, false, nil
	}
	if err != nil {
		return w, false, false, err
	}
	err = sw.writer.call(ctx, func() {
		l := sw.writer.queue.lines[t]
		_, parked := sw.writer.parked.letters[sw.writer.parked.slot(t, key, 0)]
		quiet = l != nil && l.entries[key] == nil && l.read >= w.Revision && !parked
	})
	return w, ok, quiet, err
}

// newest is the write for the newest value of a key, from a view that is closed again before
// callers wait for something else.
func (sw *sweeper) newest(t ledger.Tenant, key ledger.Key) (w Write, ok bool, err error) {
	v, err := sw.p.cfg.Replica.View(t, replica.At{})
	if err != nil {
		return w, false, fmt.Errorf("read %s: %w", t, err)
	}
	defer v.Close()
	if w, ok, err = sw.write(v, t, key); err != nil {
		return w, false, fmt.Errorf("read %s of %s: %w", key, t, err)
	}
	return w, ok, nil
}

func kindName(k stelev1.Drift_Kind) string {
	return map[stelev1.Drift_Kind]string{
		stelev1.Drift_KIND_EDITED: "edited", stelev1.Drift_KIND_DELETED: "deleted", stelev1.Drift_KIND_FOREIGN: "foreign",
	}[k]
}
