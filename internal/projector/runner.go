package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// runner writes to one sink for as long as this process holds its lease.
type runner struct {
	p       *Projector
	name    string
	spec    routes.Sink
	routing string // of the sink, in short
	log     *slog.Logger

	// table is replaced by the projector when the routes change in what does not
	// concern which keys are the sink's.
	table atomic.Pointer[routes.Table]
	// calls are done by the goroutine that runs the sink, between two steps.
	calls     chan func()
	answering sync.WaitGroup
	// held is set while the process has the lease, open while the sink is also open.
	held, open atomic.Bool
	drift      drifts
	// stop is why nothing is written to the sink; nil while it runs.
	stop stopper

	// Of the goroutine that runs the sink.
	sink      Sink
	store     Store // nil if the sink is not a store
	limits    Limits
	queue     *queue
	positions *positions
	parked    *parked
	unread    map[*line]bool // lines with revisions that were not read
	touched   map[*line]bool // lines whose position may have moved since it was saved
	slots     int            // calls of Write that may begin now
	resume    time.Time      // no call begins before
	broken    int            // calls that failed one after the other
	brokenErr error          // of the last of them
	brokenAt  time.Time      // the first of them
	results   chan outcome
	speed     speed

	// For the status; guarded by mu.
	mu         sync.Mutex
	writes     uint64
	failures   uint64
	lastErr    error
	failed     time.Time
	openFailed time.Time // since when the sink cannot be opened; zero while it is open
}

// outcome is what became of one call of Write.
type outcome struct {
	entries []*entry
	writes  []Write
	errs    []error
	err     error
}

const (
	saveEvery = time.Second
	// reopen is the time between two tries to open a sink.
	reopen = 5 * time.Second
	// failingTries is how many tries in a row fail before the status calls the sink
	// failing: a single fault is normal.
	failingTries = 3
	// retryParked is how long after its last try a parked key is tried again: what
	// was in its way may be gone.
	retryParked = 5 * time.Minute
	// retriedAtOnce is how many parked keys are put back in the queue a second.
	retriedAtOnce = 100
)

// run takes the lease of the sink, again and again, until ctx ends.
func (r *runner) run(ctx context.Context) {
	c := &lease{p: r.p, sink: r.name}
	for ctx.Err() == nil {
		if err := c.hold(ctx, r.work); err != nil && ctx.Err() == nil {
			r.fail(err)
			sleep(ctx, time.Second)
		}
	}
}

// work opens the sink and writes to it. It ends with ctx, or when an auxiliary stream
// cannot be read or written.
func (r *runner) work(ctx context.Context) (err error) {
	served, err := r.serveOrders(ctx)
	if err != nil {
		return err
	}
	defer served()
	r.queue = newQueue(false, false)
	r.held.Store(true)
	defer r.held.Store(false)
	if err := r.stop.load(ctx, r.p.notes, r.name); err != nil {
		return err
	}
	if r.sink, err = r.openSink(ctx); err != nil {
		err = fmt.Errorf("open sink %s: %w", r.name, err)
		r.fail(err)
		r.opening(err)
		r.idle(ctx, reopen)
		return err
	}
	r.opening(nil)
	defer func() { err = errors.Join(err, r.sink.Close()) }()
	r.store, _ = r.sink.(Store)
	r.limits = r.sink.Limits()
	r.queue = newQueue(r.store == nil, r.limits.Batch == 0)
	r.unread, r.touched = make(map[*line]bool), make(map[*line]bool)
	r.slots, r.resume, r.broken = max(r.limits.Parallel, 1), time.Time{}, 0
	r.speed = speed{}
	r.results = make(chan outcome, r.slots)
	r.positions = &positions{notes: r.p.notes, sink: r.name, owner: r.p.owner, routing: r.routing}
	r.parked = &parked{notes: r.p.parked, sink: r.name, every: r.store == nil}
	rerouted, err := r.positions.load(ctx)
	if err != nil {
		return err
	}
	if err := r.parked.load(ctx); err != nil {
		return err
	}
	table := r.table.Load()
	if err := r.parked.keep(ctx, func(k ledger.Key) bool { return table.Route(k).Wants(r.name) }); err != nil {
		return err
	}
	if rerouted && r.store != nil {
		r.log.Info("the routes to the sink have changed: all of it is written again")
		r.positions.reset()
	}
	r.open.Store(true)
	defer r.open.Store(false)
	r.log.Info("writing to the sink", "kind", r.spec.Kind)
	return r.loop(ctx)
}

func (r *runner) openSink(ctx context.Context) (Sink, error) {
	kind, ok := r.p.cfg.Kinds[r.spec.Kind]
	if !ok {
		return nil, fmt.Errorf("unknown kind %q", r.spec.Kind)
	}
	to := r.p.cfg.Destinations
	return kind(ctx, Settings{
		Name: r.name, Epoch: r.p.cfg.Journal.Epoch(), JSON: r.spec.Settings, Dir: r.p.cfg.Dir, Destinations: to, Local: to.Owns(r.spec),
		Keys: r.p.cfg.Keys, PrivateAddresses: r.p.cfg.PrivateAddresses, Log: r.log,
	})
}

// loop is the goroutine that runs the sink.
func (r *runner) loop(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	feed := r.p.cfg.Replica.Feed()
	defer func() {
		feed.Close()
		cancel()
		running.Wait()
		err = errors.Join(err, r.finish())
	}()
	moved := make(chan []*ledger.Commit)
	running.Go(func() { pump(ctx, feed, moved) })
	if r.store != nil {
		running.Go(func() { r.sweepAlways(ctx) })
	}
	for _, h := range r.p.cfg.Replica.Heads("") {
		if l := r.moved(h.Tenant, h.Head.Revision); l != nil {
			l.backfill = h.Head.Revision
		}
	}
	save := time.NewTicker(saveEvery)
	defer save.Stop()
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		wake := r.step(ctx, &running)
		due.Reset(time.Until(wake))
		select {
		case <-ctx.Done():
			return nil
		case commits := <-moved:
			for _, c := range commits {
				r.arrived(c)
			}
		case o := <-r.results:
			if err := r.settle(ctx, o); err != nil {
				return err
			}
		case call := <-r.calls:
			call()
		case now := <-save.C:
			r.speed.sample(now, r.written())
			r.retryOld(now)
			if err := r.save(ctx); err != nil {
				return err
			}
		case <-due.C:
		}
	}
}

// pump drains a feed, so that it does not accumulate changes.
func pump(ctx context.Context, feed *replica.Feed, to chan<- []*ledger.Commit) {
	for {
		commits := feed.Next(ctx)
		if commits == nil {
			return
		}
		select {
		case to <- commits:
		case <-ctx.Done():
			return
		}
	}
}

// moved notes a tenant's newest revision, and returns its line; nil for a tenant
// whose keys go to no sink.
func (r *runner) moved(t ledger.Tenant, head ledger.Revision) *line {
	if t.Reserved() {
		return nil
	}
	l := r.queue.lines[t]
	if l == nil {
		l = r.queue.line(t)
		l.begun = r.positions.get(t)
		l.read = l.begun.revision
	}
	l.head = max(l.head, head)
	if l.head > l.read || l.begun.revision > 0 && l.head >= l.begun.revision {
		r.unread[l] = true
		if l.behind.IsZero() {
			l.behind = time.Now()
		}
	}
	return l
}

// arrived records a new commit. A store gets its keys before the rest of the line's
// unread keys; reading those repeats them, which has no effect. A bus gets the changes
// of a key in order.
func (r *runner) arrived(c *ledger.Commit) {
	l := r.moved(c.Tenant, c.Revision)
	if l == nil || r.store == nil || l.walk == 0 && l.read+1 >= c.Revision || len(l.lanes[fresh].order) > ahead {
		return
	}
	table, now := r.table.Load(), time.Now()
	for i, ch := range c.Changes {
		if table.Route(ch.Key).Wants(r.name) {
			r.queue.add(l, ch.Key, change{c.Revision, i}, now)
		}
	}
}

// step reads changes and begins to write them, as far as there is room. It returns when
// there is more to do without an event.
func (r *runner) step(ctx context.Context, running *sync.WaitGroup) time.Time {
	now := time.Now()
	if now.Before(r.resume) {
		return r.resume
	}
	never := now.Add(time.Hour)
	for l := range r.unread {
		if r.queue.full(l) {
			continue
		}
		if err := r.read(l, now); err != nil {
			return r.rest(now, err)
		}
		r.touched[l] = true
		if l.read == l.head {
			delete(r.unread, l)
		}
	}
	for r.slots > 0 && !r.stop.stopped() {
		taken, next := r.queue.take(now, r.limits.Batch)
		if len(taken) == 0 {
			if next.IsZero() {
				return never
			}
			return next
		}
		entries, writes, err := r.build(taken)
		if err != nil {
			return r.rest(now, err)
		}
		if len(writes) == 0 {
			continue
		}
		r.slots--
		running.Go(func() {
			o := outcome{entries: entries, writes: writes}
			if o.errs, o.err = r.deliver(ctx, writes); o.err == nil && len(o.errs) != len(writes) {
				o.err = fmt.Errorf("sink %s answers %d of %d writes", r.name, len(o.errs), len(writes))
			}
			r.results <- o // has room for every slot
		})
	}
	return never
}

// rest makes a pause after something that concerns the whole sink has failed.
func (r *runner) rest(now time.Time, err error) time.Time {
	if r.broken++; r.broken == 1 {
		r.brokenAt = now
	}
	r.brokenErr = err
	r.resume = now.Add(pause(r.broken, longPause))
	r.fail(err)
	return r.resume
}

// settle takes in what became of a call.
//
// One that ended because the runner did says nothing of the sink.
func (r *runner) settle(ctx context.Context, o outcome) error {
	now := time.Now()
	r.slots++
	for _, e := range o.entries {
		r.touched[e.line] = true
	}
	if o.err != nil {
		for _, e := range o.entries {
			r.queue.release(e)
		}
		if !errors.Is(o.err, context.Canceled) {
			r.rest(now, o.err)
		}
		return nil
	}
	r.broken = 0
	for i, e := range o.entries {
		if err := r.settleOne(ctx, e, o.writes[i], o.errs[i], now); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) settleOne(ctx context.Context, e *entry, w Write, failure error, now time.Time) error {
	var refused *RefusedError
	switch {
	case failure == nil:
		r.p.metrics.wrote(r.name, now.Sub(e.queued))
		r.count()
		r.repaired(w, nil)
		if err := r.parked.remove(ctx, r.parked.slot(w.Tenant, w.Key, w.Revision)); err != nil {
			return err
		}
		r.queue.done(e, w.Revision)
	case errors.As(failure, &refused):
		r.repaired(w, failure)
		l := letter{
			Sink: r.name, Tenant: w.Tenant, Key: w.Key, Revision: w.Revision, Position: w.Position,
			Reason: failure.Error(), Since: now, Attempts: e.tries + 1,
		}
		if refused != nil {
			l.Other = refused.Other
		}
		if !r.parked.skippedSince(l, e.queued) && !r.parked.triedAgain(l, now) {
			r.fail(fmt.Errorf("%s of %s is parked: %w", w.Key, w.Tenant, failure))
			if err := r.parked.put(ctx, l, now); err != nil {
				return err
			}
		}
		r.queue.done(e, w.Revision)
	case errors.Is(failure, context.Canceled):
		r.queue.release(e)
	default:
		failure = fmt.Errorf("%s of %s: %w", w.Key, w.Tenant, failure)
		r.fail(failure)
		r.queue.putBack(e, now, failure)
	}
	return nil
}

// retryOld puts parked keys back in the queue whose last try was long ago.
func (r *runner) retryOld(now time.Time) {
	for _, l := range r.parked.due(now.Add(-retryParked), retriedAtOnce) {
		r.queue.again(r.queue.line(l.Tenant), l.Key, change{l.Revision, l.Position}, nil)
	}
}

// failing returns why writes for the tenant, or for all, fail at the moment, and
// since when. Writes that fail are retried until they succeed.
func (r *runner) failing(t ledger.Tenant) (since time.Time, why error) {
	if r.broken >= failingTries {
		why, since = r.brokenErr, r.brokenAt
	}
	for _, l := range r.queue.lines {
		if t != "" && l.tenant != t {
			continue
		}
		for _, e := range l.entries {
			if e.tries >= failingTries && (since.IsZero() || e.failed.Before(since)) {
				why, since = e.err, e.failed
			}
		}
	}
	return since, why
}

// repaired records the outcome of a write that replaces drift.
func (r *runner) repaired(w Write, failure error) {
	if w.Replace != nil {
		r.drift.acted(w.Tenant, w.Replace.Name, stelev1.Drift_ACTION_REPAIRED, failure)
	}
}

// save keeps the positions that have moved.
func (r *runner) save(ctx context.Context) error {
	for l := range r.touched {
		if err := r.keepPosition(l); err != nil {
			return err
		}
	}
	clear(r.touched)
	return r.positions.save(ctx)
}

// keepPosition notes how far a line is.
func (r *runner) keepPosition(l *line) error {
	rev := l.position()
	if rev == r.positions.get(l.tenant).revision {
		return nil
	}
	v, err := r.p.cfg.Replica.View(l.tenant, replica.At{})
	if err != nil {
		return fmt.Errorf("read %s: %w", l.tenant, err)
	}
	defer v.Close()
	id, err := v.ID(rev)
	if err != nil {
		return fmt.Errorf("read %s%s: %w", l.tenant, rev, err)
	}
	r.positions.set(l.tenant, placeOf(rev, id))
	return nil
}

// finish takes in what the last calls have done, when none runs any more, and keeps
// the positions.
func (r *runner) finish() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for {
		select {
		case o := <-r.results:
			if err := r.settle(ctx, o); err != nil {
				return err
			}
		default:
			return r.save(ctx)
		}
	}
}

// idle only answers for a while.
func (r *runner) idle(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case call := <-r.calls:
			call()
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// fail notes what went wrong.
func (r *runner) fail(err error) {
	r.p.metrics.failed(r.name)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lastErr == nil || r.lastErr.Error() != err.Error() || time.Since(r.failed) > time.Minute {
		r.log.Warn("the sink does not take everything", "error", err)
	}
	r.failures++
	r.lastErr, r.failed = err, time.Now()
}

// opening notes whether the sink can be opened.
func (r *runner) opening(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.openFailed = time.Time{}
	case r.openFailed.IsZero():
		r.openFailed = time.Now()
	}
}

func (r *runner) count() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes++
}

func (r *runner) written() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writes
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
