package projector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/secret"
)

// writer writes to an open sink. Everything in it belongs to the goroutine of run, except
// calls and what target shares.
type writer struct {
	*builder
	sink  Sink
	store Store // nil if the sink is not a store

	// calls are run by the goroutine of run, between two steps.
	calls chan func()

	queue     *queue
	reader    *reader
	positions *positions
	parked    *parked
	unread    map[*line]bool // lines with revisions that were not read
	touched   map[*line]bool // lines whose position may have moved since it was saved
	slots     int            // calls of Write that may begin now
	results   chan outcome
	outage    outage
	speed     speed
}

// saveEvery is how often positions are saved.
const saveEvery = time.Second

// newWriter loads the progress of the sink.
func newWriter(ctx context.Context, t *target, sink Sink) (*writer, error) {
	store, _ := sink.(Store)
	limits := sink.Limits()
	slots := max(limits.Parallel, 1)
	wr := &writer{
		builder: &builder{target: t, limits: limits}, sink: sink, store: store,
		calls: make(chan func()), queue: newQueue(store == nil, limits.Batch == 0),
		positions: &positions{bucket: t.p.bucket, sink: t.name, owner: t.p.owner, routing: t.routing, restart: store != nil},
		parked:    &parked{bucket: t.p.parked, sink: t.name, every: store == nil},
		unread:    make(map[*line]bool), touched: make(map[*line]bool),
		slots: slots, results: make(chan outcome, slots),
	}
	wr.reader = &reader{builder: wr.builder, queue: wr.queue, positions: wr.positions}
	rerouted, err := wr.positions.load(ctx)
	if err != nil {
		return nil, err
	}
	if rerouted && store != nil {
		t.log.Info("the routes to the sink have changed: all of it is written again")
	}
	if err := wr.parked.load(ctx); err != nil {
		return nil, err
	}
	table := t.table.Load()
	if err := wr.parked.keep(ctx, func(k ledger.Key) bool { return table.Route(k).Wants(t.name) }); err != nil {
		return nil, err
	}
	return wr, nil
}

// run writes until ctx ends or an auxiliary stream fails.
func (wr *writer) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	feed := wr.p.cfg.Replica.Feed()
	defer func() {
		feed.Close()
		cancel()
		running.Wait()
		err = errors.Join(err, wr.finish())
	}()
	moved := make(chan []*ledger.Commit)
	running.Go(func() { pump(ctx, feed, moved) })
	for _, h := range wr.p.cfg.Replica.Heads("") {
		if l := wr.moved(h.Tenant, h.Head.Revision); l != nil {
			l.backfill = h.Head.Revision
		}
	}
	save := time.NewTicker(saveEvery)
	defer save.Stop()
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		wake := wr.step(ctx, &running)
		due.Reset(time.Until(wake))
		select {
		case <-ctx.Done():
			return nil
		case commits := <-moved:
			for _, c := range commits {
				wr.arrived(c)
			}
		case o := <-wr.results:
			if err := wr.takeOutcome(ctx, o); err != nil {
				return err
			}
		case call := <-wr.calls:
			call()
		case now := <-save.C:
			wr.speed.sample(now, wr.health.written())
			wr.retryOld(now)
			if err := wr.save(ctx); err != nil {
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

// moved records a tenant's newest revision, and returns its line; nil for a tenant
// whose keys go to no sink.
func (wr *writer) moved(t ledger.Tenant, head ledger.Revision) *line {
	if t.Reserved() {
		return nil
	}
	l := wr.queue.lines[t]
	if l == nil {
		l = wr.queue.line(t)
		l.begun = wr.positions.get(t)
		l.read = l.begun.revision
	}
	l.head = max(l.head, head)
	if l.head > l.read || l.begun.revision > 0 && l.head >= l.begun.revision {
		wr.unread[l] = true
		if l.behind.IsZero() {
			l.behind = time.Now()
		}
	}
	return l
}

// arrived records a new commit. A store gets its keys before the rest of the line's
// unread keys; reading those repeats them, which has no effect. A bus gets the changes
// of a key in order.
func (wr *writer) arrived(c *ledger.Commit) {
	l := wr.moved(c.Tenant, c.Revision)
	if l == nil || wr.store == nil || l.walk == 0 && l.read+1 >= c.Revision || len(l.byPriority[fresh].order) > ahead {
		return
	}
	c, err := wr.p.cfg.Replica.EffectiveCommit(c)
	if err != nil {
		return // the commit is read in its turn
	}
	table, now := wr.table.Load(), time.Now()
	for i, ch := range c.Changes {
		if table.Route(ch.Key).Wants(wr.name) {
			wr.queue.add(l, ch.Key, change{c.Revision, i}, now)
		}
	}
}

// step reads changes and begins to write them, as far as there is room. It returns when
// there is more to do without an event.
func (wr *writer) step(ctx context.Context, running *sync.WaitGroup) time.Time {
	now := time.Now()
	if now.Before(wr.outage.resume) {
		return wr.outage.resume
	}
	never := now.Add(time.Hour)
	for l := range wr.unread {
		if wr.queue.full(l) {
			continue
		}
		if err := wr.reader.read(l, now); err != nil {
			return wr.rest(now, err)
		}
		wr.touched[l] = true
		if l.read == l.head {
			delete(wr.unread, l)
		}
	}
	for wr.slots > 0 && !wr.stop.stopped() {
		taken, next := wr.queue.take(now, wr.limits.Batch)
		if len(taken) == 0 {
			if next.IsZero() {
				return never
			}
			return next
		}
		entries, writes, err := wr.reader.build(taken)
		if err != nil {
			return wr.rest(now, err)
		}
		if len(writes) == 0 {
			continue
		}
		wr.slots--
		running.Go(func() {
			o := outcome{entries: entries, writes: writes}
			if o.errs, o.err = wr.deliver(ctx, writes); o.err == nil && len(o.errs) != len(writes) {
				o.err = fmt.Errorf("sink %s answers %d of %d writes", wr.name, len(o.errs), len(writes))
			}
			wr.results <- o // has room for every slot
		})
	}
	return never
}

// deliver calls Sink.Write: every write to a sink goes through it. Values that cannot be
// disclosed are left out, each with its error.
func (wr *writer) deliver(ctx context.Context, writes []Write) ([]error, error) {
	errs := make([]error, len(writes))
	open, at := make([]Write, 0, len(writes)), make([]int, 0, len(writes))
	var disclosed []ledger.Value // secrets that the sink gets
	for i, w := range writes {
		was := w.Value
		if errs[i] = wr.disclose(ctx, &w); errs[i] != nil {
			continue
		}
		open, at = append(open, w), append(at, i)
		if secret.Sealed(was) && w.Value != secret.Mask {
			disclosed = append(disclosed, w.Value)
		}
	}
	if len(open) == 0 {
		return errs, nil
	}
	written, err := wr.sink.Write(ctx, open)
	if err != nil || len(written) != len(open) {
		return written, withhold(err, disclosed)
	}
	for i, err := range written {
		errs[at[i]] = withhold(err, disclosed)
	}
	return errs, nil
}
