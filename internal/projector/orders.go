package projector

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger"
	sinkstatev1 "github.com/stelehq/stele/internal/projector/sinkstate/v1"
	"google.golang.org/protobuf/proto"
)

// OrderSubjects are the subjects for requests to the owner of a sink, and HeartbeatSubjects
// the subjects of its heartbeats. Each sink's own subject ends in its name.
const (
	OrderSubjects     = "stele.orders.v1.*"
	HeartbeatSubjects = "stele.heartbeats.v1.*"
)

func orderSubject(sink string) string { return strings.TrimSuffix(OrderSubjects, "*") + sink }

// ordersWaiting is how many orders may arrive before the first of them is read; more are
// dropped, and their callers notice the silence.
const ordersWaiting = 256

var (
	// errNotHeld: the process no longer writes to the sink.
	errNotHeld = fmt.Errorf("%w: the sink is being handed over; try again", ledger.ErrUnavailable)
	// errNotOpen: the process would write to the sink.
	errNotOpen = fmt.Errorf("%w: the sink is not open; its last error says why (stele sinks)", ledger.ErrUnavailable)
)

// call has the goroutine of run do something between two steps.
func (wr *writer) call(ctx context.Context, do func()) error {
	done := make(chan struct{})
	select {
	case wr.calls <- func() { do(); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return errNotHeld
	}
}

// serveOrders answers the requests of other processes, and of this one, to the owner of
// the sink. The returned function ends that, and waits: orders that have arrived are answered
// with errNotHeld.
func (r *runner) serveOrders(ctx context.Context) (stop func(), err error) {
	// A channel, not a callback: Unsubscribe does not wait for a callback that begins.
	orders := make(chan *nats.Msg, ordersWaiting)
	sub, err := r.p.cfg.Conn.ChanSubscribe(orderSubject(r.name), orders)
	if err != nil {
		return nil, fmt.Errorf("listen to orders for sink %s: %w", r.name, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	unsubscribed := make(chan struct{})
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			select {
			case m := <-orders:
				// Each in a goroutine of its own: a check may take minutes.
				serving.Go(func() { r.answer(ctx, m) })
			case <-unsubscribed:
				for len(orders) > 0 {
					r.answer(ctx, <-orders)
				}
				return
			}
		}
	})
	return func() {
		cancel()
		_ = sub.Unsubscribe() // fails only when the connection is closed
		close(unsubscribed)
		serving.Wait()
	}, nil
}

func (r *runner) answer(ctx context.Context, m *nats.Msg) {
	var order sinkstatev1.Order
	reply := &sinkstatev1.Reply{}
	err := proto.Unmarshal(m.Data, &order)
	if err == nil {
		done := r.sayWorking(m)
		err = r.handle(ctx, &order, reply)
		done()
	}
	if err != nil && ctx.Err() != nil {
		err = errNotHeld
	}
	if err != nil {
		var invalid *ledger.InvalidError
		reply = &sinkstatev1.Reply{Error: err.Error(), Invalid: errors.As(err, &invalid)}
	}
	r.respond(m, reply)
}

// sayWorking sends replies that the order is being carried out, until done is called.
func (r *runner) sayWorking(m *nats.Msg) (done func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var saying sync.WaitGroup
	saying.Go(func() {
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				r.respond(m, &sinkstatev1.Reply{Working: true})
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		saying.Wait()
	}
}

func (r *runner) respond(m *nats.Msg, reply *sinkstatev1.Reply) {
	body, err := proto.Marshal(reply)
	if err != nil {
		r.log.Error("encode the answer to an order", "error", err)
		return
	}
	if err := m.Respond(body); err != nil {
		r.log.Warn("answer an order", "error", err)
	}
}

func (r *runner) handle(ctx context.Context, order *sinkstatev1.Order, reply *sinkstatev1.Reply) (err error) {
	t := ledger.Tenant(order.Tenant)
	is := r.opened.Load()
	var failed error
	var do func()
	switch o := order.Order.(type) {
	case *sinkstatev1.Order_Drift:
		reply.Drift = r.drift.of(t)
		return nil
	case *sinkstatev1.Order_Check:
		sw, err := r.comparing(is)
		if err == nil {
			reply.Check, err = sw.check(ctx, t, o.Check)
		}
		return err
	case *sinkstatev1.Order_Resolve:
		sw, err := r.comparing(is)
		if err == nil {
			reply.Resolve, err = sw.resolve(ctx, t, o.Resolve)
		}
		return err
	case *sinkstatev1.Order_Status:
		if is == nil {
			reply.Status, err = r.statusNotOpen(ctx, t)
			return err
		}
		do = func() { reply.Status = is.writer.status(t) }
	case *sinkstatev1.Order_Replay:
		do = func() { reply.Replay, failed = is.writer.replay(ctx, t, ledger.Revision(o.Replay.FromRevision)) }
	case *sinkstatev1.Order_Retry:
		do = func() { reply.Retry, failed = is.writer.retry(t, ledger.Key(o.Retry.Key)) }
	case *sinkstatev1.Order_Skip:
		do = func() { reply.Skip, failed = is.writer.skip(ctx, t, ledger.Key(o.Skip.Key)) }
	default:
		return ledger.Invalid("order", "this process does not know it: it may be older than the one that asks")
	}
	if is == nil {
		return errNotOpen
	}
	if err := is.writer.call(ctx, do); err != nil {
		return err
	}
	return failed
}

// comparing is what compares an open sink with the ledger. A bus cannot be compared.
func (r *runner) comparing(is *opened) (*sweeper, error) {
	switch {
	case is == nil:
		return nil, errNotOpen
	case is.sweeper == nil:
		return nil, ledger.Invalid("sink", fmt.Sprintf("%s gets events, and holds nothing that could drift", r.name))
	}
	return is.sweeper, nil
}
