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

// sweeper is the drift detection of a store: it compares the store with the ledger, and
// handles drift as the routes or an operator decide.
type sweeper struct {
	*builder
	store  Store
	writer *writer

	// turn has one element while a comparison of the store runs, until its findings are
	// handled. Otherwise a sweep could stop the sink because of findings that an operator
	// has had repaired since.
	turn chan struct{}
}

// takeTurn waits for its turn to compare the store. The returned function ends it.
func (sw *sweeper) takeTurn(ctx context.Context) (end func(), err error) {
	select {
	case sw.turn <- struct{}{}:
		return func() { <-sw.turn }, nil
	case <-ctx.Done():
		return nil, errNotHeld
	}
}

// sweepPause is the time from the end of one sweep of a store to the next: with it
// and the time that a sweep takes, drift is found within a minute.
const sweepPause = 20 * time.Second

// run compares the store with the ledger, again and again, until ctx ends.
func (sw *sweeper) run(ctx context.Context) {
	for {
		sleep(ctx, sweepPause)
		if ctx.Err() != nil {
			return
		}
		s, err := sw.compareAndEnforce(ctx, "", "")
		if err == nil && len(s.uncompared) > 0 {
			err = fmt.Errorf("%d tenants or items could not be compared, for example %s", len(s.uncompared), describe(s.uncompared[0]))
		}
		if err != nil && ctx.Err() == nil {
			sw.fail(fmt.Errorf("sweep: %w", err))
		}
	}
}

func describe(u *stelev1.Uncompared) string {
	if u.Name == "" {
		return fmt.Sprintf("the items of %s: %s", u.Tenant, u.Reason)
	}
	return fmt.Sprintf("%s of %s: %s", u.Name, u.Tenant, u.Reason)
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

// missed notes what could not be compared.
func (s *sweep) missed(t ledger.Tenant, name string, why error) {
	s.uncompared = append(s.uncompared, &stelev1.Uncompared{Tenant: string(t), Name: name, Reason: why.Error(), Tried: timestamppb.Now()})
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

// sweep compares the items of a tenant, or of all. It continues past items that cannot
// be compared. The error comes from the projector, not from the store.
func (sw *sweeper) sweep(ctx context.Context, only ledger.Tenant) (*sweep, error) {
	began := time.Now()
	s := &sweep{only: only, expected: make(map[ledger.Tenant]expectation)}
	for _, h := range sw.p.cfg.Replica.Heads(only) {
		if only != "" && h.Tenant != only {
			break
		}
		suspects, err := sw.suspects(ctx, h.Tenant, s)
		if err = s.note(ctx, h.Tenant, "", err); err != nil {
			return s, err
		}
		for _, item := range suspects {
			f, err := sw.confirm(ctx, item)
			if err = s.note(ctx, h.Tenant, item.Name, err); err != nil {
				return s, err
			}
			if f != nil {
				s.found = append(s.found, f)
			}
		}
	}
	sw.drift.swept(began, s)
	return s, nil
}

// suspects are the items of a tenant that seem not to be as the ledger says, and
// those that should be there and are not.
func (sw *sweeper) suspects(ctx context.Context, t ledger.Tenant, s *sweep) (suspects []Item, err error) {
	var settled ledger.Revision // when the scan begins, all up to it is in the store
	parked := make(map[ledger.Key]bool)
	err = sw.writer.call(ctx, func() {
		if l := sw.writer.queue.lines[t]; l != nil {
			settled = l.position()
		}
		for slot := range sw.writer.parked.letters {
			if slot.tenant == t {
				parked[slot.key] = true
			}
		}
	})
	if err != nil {
		return nil, err
	}
	found := make(map[ledger.Key]Item)
	err = sw.store.Scan(ctx, t, func(item Item) error {
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
	v, err := sw.p.cfg.Replica.View(t, replica.At{})
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
		w, ok, err := sw.writeOf(v, t, key, is.Version)
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
		name, unnamed := sw.store.Name(t, key)
		var refused *RefusedError
		switch err := sw.disclose(ctx, &w); {
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
		if unnamed != nil { // the store cannot hold the key; it is parked
			continue
		}
		if !there && !w.Deleted() {
			s.compared++
		}
		if w, err = writtenFor(v, w, item); err != nil {
			return nil, err
		}
		if sw.verdict(w, ok, item, there) != stelev1.Drift_KIND_UNSPECIFIED || item.Revision > w.Revision {
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
			ahead = ahead || item.Revision > 0 && sw.table.Load().Route(item.Key).Wants(sw.name)
		}
	}
	if !ahead || !sw.caughtUp(ctx, scanned) {
		for i := range suspects {
			suspects[i].Revision = 0
		}
	}
	s.expected[t] = expected
	return suspects, nil
}

// caughtUp waits until the replica holds all that the journal had at a time, and reports
// whether it does.
func (sw *sweeper) caughtUp(ctx context.Context, at time.Time) bool {
	for end := time.Now().Add(catchUpTime); ; sleep(ctx, 20*time.Millisecond) {
		p, _ := sw.p.cfg.Replica.Progress()
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
