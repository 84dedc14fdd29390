package projector

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// OrderSubjects are the subjects for requests to the owner of a sink, and HeartbeatSubjects
// the subjects of its heartbeats. Each sink's own subject ends in its name.
const (
	OrderSubjects     = "stele.orders.v1.*"
	HeartbeatSubjects = "stele.heartbeats.v1.*"
)

func orderSubject(sink string) string { return strings.TrimSuffix(OrderSubjects, "*") + sink }

var (
	// errNotHeld: the process no longer writes to the sink.
	errNotHeld = fmt.Errorf("%w: the sink is being handed over; try again", ledger.ErrUnavailable)
	// errNotOpen: the process would write to the sink.
	errNotOpen = fmt.Errorf("%w: the sink is not open; its last error says why (stele sinks)", ledger.ErrUnavailable)
)

// call has the goroutine that runs the sink do something between two steps.
func (r *runner) call(ctx context.Context, do func()) error {
	done := make(chan struct{})
	select {
	case r.calls <- func() { do(); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return errNotHeld
	}
}

// serveOrders answers the requests of other processes, and of this one, to the owner of
// the sink. The returned function ends that, and waits.
func (r *runner) serveOrders(ctx context.Context) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	sub, err := r.p.cfg.Conn.Subscribe(orderSubject(r.name), func(m *nats.Msg) {
		// Each in a goroutine of its own: a check may take minutes.
		r.answering.Go(func() { r.answer(ctx, m) })
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("listen to orders for sink %s: %w", r.name, err)
	}
	return func() {
		_ = sub.Unsubscribe() // fails only when the connection is closed
		cancel()
		r.answering.Wait()
	}, nil
}

func (r *runner) answer(ctx context.Context, m *nats.Msg) {
	var order stelev1.SinkOrder
	reply := &stelev1.SinkReply{}
	err := proto.Unmarshal(m.Data, &order)
	if err == nil {
		err = r.handle(ctx, &order, reply)
	}
	if err != nil {
		var invalid *ledger.InvalidError
		reply = &stelev1.SinkReply{Error: err.Error(), Invalid: errors.As(err, &invalid)}
	}
	body, err := proto.Marshal(reply)
	if err != nil {
		r.log.Error("encode the answer to an order", "error", err)
		return
	}
	if err := m.Respond(body); err != nil {
		r.log.Warn("answer an order", "error", err)
	}
}

func (r *runner) handle(ctx context.Context, order *stelev1.SinkOrder, reply *stelev1.SinkReply) error {
	t := ledger.Tenant(order.Tenant)
	var failed error
	var do func()
	switch o := order.Order.(type) {
	case *stelev1.SinkOrder_Status:
		if !r.open.Load() {
			var err error
			reply.Status, err = r.statusNotOpen(ctx, t)
			return err
		}
		do = func() { reply.Status = r.status(t) }
	case *stelev1.SinkOrder_Drift:
		reply.Drift = r.drift.of(t)
		return nil
	case *stelev1.SinkOrder_Check:
		var err error
		reply.Check, err = r.check(ctx, t, o.Check.Name)
		return err
	case *stelev1.SinkOrder_Resolve:
		var err error
		reply.Resolve, err = r.resolve(ctx, t, o.Resolve)
		return err
	case *stelev1.SinkOrder_Replay:
		do = func() { reply.Replay, failed = r.replay(ctx, t, ledger.Revision(o.Replay.FromRevision)) }
	case *stelev1.SinkOrder_Retry:
		do = func() { reply.Retry, failed = r.retry(t, ledger.Key(o.Retry.Key)) }
	case *stelev1.SinkOrder_Skip:
		do = func() { reply.Skip, failed = r.skip(ctx, t, ledger.Key(o.Skip.Key)) }
	default:
		return ledger.Invalid("order", "this process does not know it: it may be older than the one that asks")
	}
	if err := r.call(ctx, do); err != nil {
		return err
	}
	return failed
}

// status is how the sink is, for a tenant or for all.
func (r *runner) status(t ledger.Tenant) *stelev1.SinkStatus {
	st := &stelev1.SinkStatus{Name: r.name, Kind: r.spec.Kind, Owner: r.p.host}
	var oldest time.Time
	for _, l := range r.queue.lines {
		if t != "" && l.tenant != t {
			continue
		}
		at := l.position()
		st.LagRevisions += uint64(l.head - at)
		st.Pending += l.pending()
		if l.tenant == t {
			st.Position, st.Head = uint64(at), uint64(l.head)
		}
		if w := l.waiting(); !w.IsZero() && (oldest.IsZero() || w.Before(oldest)) {
			oldest = w
		}
	}
	if !oldest.IsZero() && st.LagRevisions > 0 {
		st.Lag = durationpb.New(time.Since(oldest))
	}
	if left, ok := r.speed.left(st.Pending); ok {
		st.TimeLeft = durationpb.New(left)
	}
	if r.open.Load() {
		st.Parked = waiting(r.parked.of(t, ""))
	}
	if since, why := r.failing(t); why != nil {
		st.Failing, st.FailingSince = why.Error(), timestamppb.New(since)
	}
	if w, ok := r.sink.(Warner); ok {
		st.Warnings = w.Warnings()
	}
	st.Stopped = r.stop.reason()
	st.Drifted = uint32(r.drift.count(t))
	st.Uncompared = uint32(r.drift.countUncompared(t))
	if at := r.drift.lastSwept(); !at.IsZero() {
		st.Checked = timestamppb.New(at)
	}
	r.tally(st)
	return st
}

// statusNotOpen is the state that the last owner has left, and the reason why this one
// cannot open the sink.
func (r *runner) statusNotOpen(ctx context.Context, t ledger.Tenant) (*stelev1.SinkStatus, error) {
	c := &Control{Conn: r.p.cfg.Conn, Journal: r.p.cfg.Journal, Replica: r.p.cfg.Replica}
	st, err := c.Left(ctx, r.name, t)
	if err != nil {
		return nil, err
	}
	st.Kind, st.Owner = r.spec.Kind, r.p.host
	r.tally(st)
	r.failingToOpen(st)
	return st, nil
}

// failingToOpen notes why the sink cannot be opened, if so.
func (r *runner) failingToOpen(st *stelev1.SinkStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.openFailed.IsZero() && r.lastErr != nil {
		st.Failing, st.FailingSince = r.lastErr.Error(), timestamppb.New(r.openFailed)
	}
}

// tally counts successes and failures.
func (r *runner) tally(st *stelev1.SinkStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	st.Writes, st.Failures = r.writes, r.failures
	if r.lastErr != nil {
		st.LastError, st.Failed = r.lastErr.Error(), timestamppb.New(r.failed)
	}
}

// statuses are those of the sinks that the routes name: nil if another process writes
// to one, empty if this one owns it and cannot open it.
func (p *Projector) statuses() map[string]*stelev1.SinkStatus {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string]*stelev1.SinkStatus, len(p.runners))
	for name, r := range p.runners {
		out[name] = nil
		switch {
		case r.open.Load():
			_ = r.call(ctx, func() { out[name] = r.status("") }) // nil, when it is being handed over
		case r.held.Load():
			out[name] = &stelev1.SinkStatus{}
			r.failingToOpen(out[name])
		}
	}
	return out
}

// replay has the sink written again from a revision on. The reads so far are forgotten;
// running calls continue, and their writes are repeated.
func (r *runner) replay(ctx context.Context, t ledger.Tenant, from ledger.Revision) (*stelev1.ReplayResponse, error) {
	if !r.open.Load() {
		return nil, errNotOpen
	}
	resp := &stelev1.ReplayResponse{}
	for _, l := range r.queue.lines {
		if t != "" && l.tenant != t {
			continue
		}
		l.rewind(max(from, 1) - 1)
		if l.head > l.read {
			r.unread[l] = true
		}
		r.touched[l] = true
		resp.LagRevisions += uint64(l.head - l.position())
	}
	return resp, r.save(ctx)
}

// retry puts parked keys back in their line.
func (r *runner) retry(t ledger.Tenant, key ledger.Key) (*stelev1.RetryResponse, error) {
	resp := &stelev1.RetryResponse{}
	if !r.open.Load() {
		return resp, errNotOpen
	}
	for _, letter := range r.parked.of(t, key) {
		if letter.Skipped && key == "" {
			continue
		}
		if r.queue.again(r.queue.line(letter.Tenant), letter.Key, change{letter.Revision, letter.Position}, nil) {
			resp.Retried++
		}
	}
	return resp, nil
}

// skip gives parked keys up. A store keeps the dead letter until the key changes, so
// that its item does not count as drift.
func (r *runner) skip(ctx context.Context, t ledger.Tenant, key ledger.Key) (*stelev1.SkipResponse, error) {
	resp := &stelev1.SkipResponse{}
	if !r.open.Load() {
		return resp, errNotOpen
	}
	for _, letter := range r.parked.of(t, key) {
		var err error
		if letter.Skipped = true; r.store != nil {
			err = r.parked.put(ctx, letter, time.Now())
		} else {
			err = r.parked.remove(ctx, r.parked.slot(letter.Tenant, letter.Key, letter.Revision))
		}
		if err != nil {
			return resp, err
		}
		resp.Skipped++
	}
	return resp, nil
}
