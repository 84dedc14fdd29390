package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/secret"
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
func (sw *sweeper) suspects(ctx context.Context, t ledger.Tenant, s *sweep) ([]Item, error) {
	c := &comparison{sweeper: sw, sweep: s, tenant: t, parked: make(map[ledger.Key]bool), items: make(map[ledger.Key]Item)}
	if err := c.scan(ctx); err != nil {
		return nil, err
	}
	scanned := time.Now()
	secrets, err := c.compareKeys(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range secrets {
		c.compare(ctx, p)
	}
	c.leftOver()
	if !c.ahead || !sw.caughtUp(ctx, scanned) {
		for i := range c.suspects {
			c.suspects[i].Revision = 0
		}
	}
	s.expected[t] = c.expected
	return c.suspects, nil
}

// comparison compares the items of a tenant with the ledger.
type comparison struct {
	*sweeper
	sweep  *sweep
	tenant ledger.Tenant

	// When the scan began, everything up to written was in the store, except parked keys.
	written ledger.Revision
	parked  map[ledger.Key]bool
	// items of the store that were not compared yet.
	items map[ledger.Key]Item

	expected expectation
	suspects []Item
	ahead    bool // some item is newer than what the replica has
}

// pair is the write of a key, and the item that should equal it.
type pair struct {
	write   Write
	item    Item
	there   bool
	pending bool // the key is not written yet, or is parked
}

// scan reads the items of the store.
func (c *comparison) scan(ctx context.Context) error {
	err := c.writer.call(ctx, func() {
		if l := c.writer.queue.lines[c.tenant]; l != nil {
			c.written = l.position()
		}
		for slot := range c.writer.parked.letters {
			if slot.tenant == c.tenant {
				c.parked[slot.key] = true
			}
		}
	})
	if err != nil {
		return err
	}
	return c.store.Scan(ctx, c.tenant, func(item Item) error {
		if item.Err != nil {
			c.sweep.missed(c.tenant, item.Name, item.Err)
		} else {
			c.sweep.compared++
		}
		switch {
		case item.Key != "":
			c.items[item.Key] = item
		case item.Err == nil:
			c.suspects = append(c.suspects, item)
		}
		return nil
	})
}

// compareKeys compares the keys of the ledger with the items, and returns those with
// encrypted values: decrypting one can take a request, and as long as a view is open the
// replica's file grows instead of using its free pages again.
func (c *comparison) compareKeys(ctx context.Context) (encrypted []pair, err error) {
	v, err := c.p.cfg.Replica.View(c.tenant, replica.At{})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", c.tenant, err)
	}
	defer v.Close()
	for is, err := range v.Changed(0, "") {
		if err != nil {
			return nil, fmt.Errorf("read the keys of %s: %w", c.tenant, err)
		}
		w, ok, err := c.writeVersion(v, c.tenant, is.Key, is.Version)
		if err != nil {
			return nil, fmt.Errorf("read %s of %s: %w", is.Key, c.tenant, err)
		}
		if !ok {
			continue // an item of it does not belong there
		}
		item, there := c.items[is.Key]
		delete(c.items, is.Key)
		if item.Err != nil {
			continue
		}
		p := pair{item: item, there: there, pending: w.Revision > c.written || c.parked[is.Key]}
		if p.write, err = writtenFor(v, w, item); err != nil {
			return nil, fmt.Errorf("read %s of %s: %w", is.Key, c.tenant, err)
		}
		if secret.Sealed(w.Value) {
			encrypted = append(encrypted, p)
		} else {
			c.compare(ctx, p)
		}
	}
	return encrypted, nil
}

// compare compares one key.
func (c *comparison) compare(ctx context.Context, p pair) {
	w, key := p.write, p.write.Key
	name, unnamed := c.store.Name(c.tenant, key)
	var refused *RefusedError
	switch err := c.disclose(ctx, &w); {
	case errors.As(err, &refused): // it is parked
		return
	case err != nil:
		c.sweep.missed(c.tenant, name, err)
		return
	}
	if p.pending {
		return
	}
	if !w.Deleted() && w.Route.Drift == routes.Adopt {
		if c.expected.adopts++; w.Route.AdoptDeletions {
			c.expected.deletes++
		}
	}
	if unnamed != nil { // the store cannot hold the key; it is parked
		return
	}
	if !p.there && !w.Deleted() {
		c.sweep.compared++
	}
	newer := p.item.Revision > w.Revision
	if !newer && c.verdict(w, true, p.item, p.there) == stelev1.Drift_KIND_UNSPECIFIED {
		return
	}
	suspect := Item{Tenant: c.tenant, Key: key, Name: name}
	if newer {
		suspect.Revision, c.ahead = p.item.Revision, true
	}
	c.suspects = append(c.suspects, suspect)
}

// leftOver suspects the items of keys that do not belong to the sink.
func (c *comparison) leftOver() {
	table := c.table.Load()
	for _, item := range c.items {
		if item.Err == nil {
			c.suspects = append(c.suspects, item)
			c.ahead = c.ahead || item.Revision > 0 && table.Route(item.Key).Wants(c.name)
		}
	}
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
