package gateway

import (
	"context"
	"errors"
	"io"
	"math"
	"time"

	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/redact"
	"github.com/stelehq/stele/internal/gateway/task"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/gateway/watch"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var watchMethod = policy.Methods[stelev1.Config_Watch_FullMethodName]

// Watch carries watches until the client or its token goes.
func (s configService) Watch(stream grpc.BidiStreamingServer[stelev1.WatchRequest, stelev1.WatchResponse]) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	c := policy.CallerOf(ctx)
	q := s.g.policy.QuotaOf(c)
	if q != nil {
		q.Join()
	}
	ws := watch.NewStream(c, q, s.g.cfg.Budget.Answers)
	s.g.metrics.watchStreams.Inc()
	free := func() {
		s.g.metrics.watchStreams.Dec()
		ws.Close(s.g.hub)
		if q != nil {
			q.Leave()
		}
	}
	received := make(chan struct{})
	s.g.running.Go(func() { // ends with the stream, at the latest when this handler returns
		defer close(received)
		err := task.Run(func() error { return s.receive(ctx, ws, stream) })
		if !errors.Is(err, io.EOF) { // after that, the client asks for nothing more, and listens
			cancel(err)
		}
	})
	err := task.Run(func() error { return ws.Send(ctx, s.g.hub, stream) })
	if ctx.Err() == nil { // only returning ends the receiver
		s.g.running.Go(func() {
			<-received
			free()
		})
		return err
	}
	<-received
	free()
	if bug := new(task.PanicError); errors.As(err, &bug) {
		return err
	}
	return context.Cause(ctx)
}

func (s configService) receive(ctx context.Context, ws *watch.Stream, stream grpc.BidiStreamingServer[stelev1.WatchRequest, stelev1.WatchResponse]) error {
	for {
		// A client that does not take its answers is not asked for more requests.
		if err := ws.Wait(ctx, watch.MaxWaiting, math.MaxInt); err != nil {
			return err
		}
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		switch r := req.Request.(type) {
		case *stelev1.WatchRequest_Create:
			if err := s.create(ctx, ws, req); err != nil {
				return err
			}
		case *stelev1.WatchRequest_Cancel:
			if w := ws.Forget(r.Cancel.Id); w != nil {
				s.g.hub.Leave(w)
				ws.Canceled(w.ID, status.New(codes.OK, ""), nil)
			}
		case *stelev1.WatchRequest_Progress:
			if err := s.g.policy.Spend(ctx, policy.CallerOf(ctx), watchMethod, req); err != nil {
				return err
			}
			s.g.hub.Progress(ws)
		}
	}
}

// create starts a watch: it sends the requested past first, then joins the hub. An
// error ends the stream; an error of this watch alone cancels it.
func (s configService) create(ctx context.Context, ws *watch.Stream, create *stelev1.WatchRequest) error {
	req := create.GetCreate()
	w := &watch.Watch{ID: req.Id, Stream: ws, NewestOnly: req.NewestOnlyWhenSlow}
	if err := ws.Add(w); err != nil {
		return err
	}
	err := s.g.policy.Admit(ctx, policy.CallerOf(ctx), watchMethod, create)
	if err == nil {
		err = ws.Count(w)
	}
	if err == nil {
		w.Selector.Sees, err = s.g.policy.Scope(policy.CallerOf(ctx), policy.ToRead)
	}
	if err == nil {
		err = w.Choose(req)
	}
	if err == nil {
		err = s.start(ctx, ws, w, create)
	}
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	ws.Forget(w.ID)
	ws.Canceled(w.ID, s.g.watchStatus(err), nil)
	return nil
}

// watchStatus is the status of a watch that an error ends.
func (g *Gateway) watchStatus(err error) *status.Status {
	st, _ := status.FromError(apierror.StatusOf(g.cfg.Log, stelev1.Config_Watch_FullMethodName, err))
	return st
}

func (s configService) start(ctx context.Context, ws *watch.Stream, w *watch.Watch, create *stelev1.WatchRequest) error {
	req := create.GetCreate()
	if len(req.AfterId) > 0 {
		if req.FromRevision < 2 {
			return ledger.Invalid("create.after_id", "it is the id of the commit before from_revision: name that")
		}
	}
	if req.FromRevision > 1 {
		if err := s.g.views.Wait(ctx, ws.Tenant, view.Seen{Revision: ledger.Revision(req.FromRevision - 1), ID: req.AfterId}); err != nil {
			return err
		}
	}
	created, after, err := s.begin(ws.Tenant, ledger.Revision(req.FromRevision))
	if err != nil {
		return err
	}
	redact, err := s.g.redaction.For(ctx, false)
	if err != nil {
		return err
	}
	if err := s.g.policy.RecordRead(ctx, policy.CallerOf(ctx), watchMethod, create, created); err != nil {
		return err
	}
	ws.Event(&stelev1.WatchResponse{Ids: []uint64{w.ID}, Event: &stelev1.WatchResponse_Created{Created: created}})
	if req.InitialState {
		if err := ws.State(ctx, s.g.cfg.Replica, after, redact, w); err != nil {
			return err
		}
	}
	past := &past{w: w, redact: redact, after: after, sent: time.Now()}
	for !s.g.hub.Join(w, past.after) {
		if err := past.send(ctx, s.g.cfg.Replica); err != nil {
			return err
		}
	}
	return nil
}

// begin describes the state that a watch starts from, and returns the last revision that its
// client has, or gets as the initial state.
func (s configService) begin(t ledger.Tenant, from ledger.Revision) (*stelev1.WatchCreated, ledger.Revision, error) {
	v, err := s.g.cfg.Replica.View(t, replica.At{})
	if err != nil {
		return nil, 0, err
	}
	defer v.Close()
	created := &stelev1.WatchCreated{Snapshot: view.SnapshotOf(v)}
	if from == 0 {
		return created, v.State().Head, nil
	}
	return created, from - 1, v.CheckKept(from)
}

// past sends a watch the commits that precede the live ones.
type past struct {
	w        *watch.Watch
	redact   redact.Redactor
	after    ledger.Revision // the last commit that was sent
	parts    int             // of the next one that were sent
	reserved int             // memory for the next part, in bytes; 0 if none is
	sent     time.Time
}

// send sends commits up to the head. While it waits for the client or for memory it holds neither
// a view nor a commit: a view keeps a tail of the replica in memory.
func (p *past) send(ctx context.Context, r *replica.Replica) error {
	defer p.unreserve()
	for {
		need, err := p.sendSome(r)
		p.unreserve() // the part has changed or could not be read
		if need == 0 || err != nil {
			return err
		}
		if err := p.w.Stream.Reserve(ctx, need); err != nil {
			return err
		}
		p.reserved = need
	}
}

// unreserve gives back memory that no part has used.
func (p *past) unreserve() {
	p.w.Stream.Unreserve(p.reserved)
	p.reserved = 0
}

// sendSome sends commits up to the head, or up to a part that does not fit into the backlog or memory now:
// it returns the size of that.
func (p *past) sendSome(r *replica.Replica) (need int, err error) {
	ws := p.w.Stream
	v, err := r.View(ws.Tenant, replica.At{})
	if err != nil {
		return 0, err
	}
	defer v.Close()
	for ; p.after < v.State().Head; p.after++ {
		c, err := v.Commit(p.after + 1)
		if err == nil {
			c, err = v.EffectiveCommit(c)
		}
		if err != nil {
			return 0, err
		}
		if len(p.w.Selector.Pick(c.Changes)) > 0 {
			bodies := p.w.Selector.Encode(p.redact.Commit(c))
			for ; p.parts < len(bodies); p.parts++ {
				body := bodies[p.parts]
				reserved := p.reserved == len(body)
				if !ws.Push(watch.EncodeIDs([]*watch.Watch{p.w}), body, reserved) {
					return len(body), nil
				}
				if reserved {
					p.reserved = 0
				}
			}
			p.parts, p.sent = 0, time.Now()
		} else if time.Since(p.sent) > watch.ProgressInterval/2 { // a client must not take the search for silence
			at := view.SnapshotOf(v)
			at.Revision, at.Id = uint64(c.Revision), c.ID[:]
			ws.Event(&stelev1.WatchResponse{Ids: []uint64{p.w.ID}, Event: &stelev1.WatchResponse_Progress{Progress: &stelev1.WatchProgress{Snapshot: at}}})
			p.sent = time.Now()
		}
	}
	return 0, nil
}
