package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/stelehq/stele/gateway/policy"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var watchMethod = policy.Methods[stelev1.Config_Watch_FullMethodName]

// maxWatches one stream may carry.
const maxWatches = 10_000

// watch is one watch of one stream.
type watch struct {
	id         uint64
	stream     *watchStream
	selector   selector
	newestOnly bool
	counted    bool // in the tenant's quota; guarded by the stream

	// Guarded by the hub: after is the last revision that the watch had when it
	// joined, and group where it is live; nil when it is not.
	after ledger.Revision
	group *group
}

// Watch carries watches until the client or its token goes.
func (s configService) Watch(stream grpc.BidiStreamingServer[stelev1.WatchRequest, stelev1.WatchResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	q := s.g.policy.QuotaOf(callerOf(ctx))
	if q != nil {
		q.Join()
		defer q.Leave()
	}
	ws := newWatchStream(callerOf(ctx).Tenant, q)
	defer ws.leaveAll(s.g.hub)
	s.g.metrics.watchStreams.Inc()
	defer s.g.metrics.watchStreams.Dec()

	sent := make(chan error, 1)
	go func() {
		err := ws.send(ctx, stream)
		cancel()
		sent <- err
	}()
	err := s.receive(ctx, ws, stream)
	if errors.Is(err, io.EOF) { // the client asks for nothing more, and listens
		<-ctx.Done()
		err = ctx.Err()
	}
	cancel()
	return errors.Join(err, ignoreCanceled(<-sent))
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (s configService) receive(ctx context.Context, ws *watchStream, stream grpc.BidiStreamingServer[stelev1.WatchRequest, stelev1.WatchResponse]) error {
	for {
		// A client that does not take its answers is not asked for more requests.
		if err := ws.wait(ctx, maxWaiting, math.MaxInt); err != nil {
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
			if w := ws.forget(r.Cancel.Id); w != nil {
				s.g.hub.leave(w)
				ws.canceled(w.id, status.New(codes.OK, ""), nil)
			}
		case *stelev1.WatchRequest_Progress:
			if err := s.g.policy.Spend(ctx, callerOf(ctx), watchMethod, req); err != nil {
				return err
			}
			s.g.hub.progress(ws)
		}
	}
}

// create starts a watch: it sends the requested past first, then joins the hub. An
// error ends the stream; an error of this watch alone cancels it.
func (s configService) create(ctx context.Context, ws *watchStream, create *stelev1.WatchRequest) error {
	req := create.GetCreate()
	w := &watch{id: req.Id, stream: ws, newestOnly: req.NewestOnlyWhenSlow}
	if err := ws.add(w); err != nil {
		return err
	}
	err := s.g.policy.Admit(ctx, callerOf(ctx), watchMethod, create)
	if err == nil {
		err = ws.count(w)
	}
	if err == nil {
		w.selector.sees, err = s.g.policy.Scope(callerOf(ctx), policy.ToRead)
	}
	if err == nil {
		err = w.choose(req)
	}
	if err == nil {
		err = s.start(ctx, ws, w, create)
	}
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	ws.forget(w.id)
	st, _ := status.FromError(statusOf(s.g.cfg.Log, stelev1.Config_Watch_FullMethodName, err))
	ws.canceled(w.id, st, nil)
	return nil
}

func (s configService) start(ctx context.Context, ws *watchStream, w *watch, create *stelev1.WatchRequest) error {
	req := create.GetCreate()
	if len(req.AfterId) > 0 {
		if req.FromRevision < 2 {
			return ledger.Invalid("create.after_id", "it is the id of the commit before from_revision: name that")
		}
		if err := s.g.wait(ctx, ws.tenant, seen{ledger.Revision(req.FromRevision - 1), req.AfterId}); err != nil {
			return err
		}
	}
	v, err := s.g.cfg.Replica.View(ws.tenant, replica.At{})
	if err != nil {
		return err
	}
	defer func() { v.Close() }()
	after := v.State().Head
	if from := ledger.Revision(req.FromRevision); from > after+1 {
		return &ledger.RangeError{Tenant: ws.tenant, Revision: from, Head: after}
	} else if from > 0 {
		if err := v.CheckKept(from); err != nil {
			return err
		}
		after = from - 1
	}
	redact, err := s.g.redactor(ctx, false)
	if err != nil {
		return err
	}
	created := &stelev1.WatchCreated{Snapshot: snapshotOf(v)}
	if err := s.g.policy.RecordRead(ctx, callerOf(ctx), watchMethod, create, created); err != nil {
		return err
	}
	ws.event(&stelev1.WatchResponse{Ids: []uint64{w.id}, Event: &stelev1.WatchResponse_Created{Created: created}})
	if req.InitialState {
		if err := ws.state(ctx, v, redact, w); err != nil {
			return err
		}
	}
	for {
		for ; after < v.State().Head; after++ {
			c, err := v.Commit(after + 1)
			if err != nil {
				return err
			}
			if len(w.selector.pick(c.Changes)) > 0 {
				if err := ws.pushWait(ctx, frame{encodeIDs([]*watch{w}), w.selector.encode(redact.commit(c))}); err != nil {
					return err
				}
			}
		}
		if s.g.hub.join(w, after) {
			return nil
		}
		v.Close()
		if v, err = s.g.cfg.Replica.View(ws.tenant, replica.At{}); err != nil {
			return err
		}
	}
}

// state sends the watch's selection of the view.
func (ws *watchStream) state(ctx context.Context, v *replica.View, redact redactor, w *watch) error {
	at := v.State()
	page := &stelev1.WatchState{Revision: uint64(at.Revision), Id: idBytes(at.Revision, at.ID)}
	size := 0
	flush := func(more bool) error {
		page.More = more
		err := ws.pushWait(ctx, stateFrame(w.id, page))
		page.Entries, size = nil, 0
		return err
	}
	var failed error
	add := func(e replica.Entry) bool {
		if size > maxPageBytes {
			failed = flush(true)
		}
		shown := redact.hidden(e)
		size += len(shown.Key) + len(shown.Value)
		page.Entries = append(page.Entries, shown)
		return failed == nil
	}
	for _, k := range w.selector.keys {
		if slices.ContainsFunc(w.selector.prefixes, func(p ledger.Prefix) bool { return p.Match(k) }) {
			continue
		}
		e, ok, err := v.Get(string(k))
		if err != nil {
			return err
		}
		if ok {
			add(e)
		}
	}
	for _, p := range w.selector.prefixes {
		if err := errors.Join(v.List(p, "", add), failed); err != nil {
			return err
		}
	}
	return flush(false)
}

// choose reads the selection of the watch.
func (w *watch) choose(req *stelev1.CreateWatch) error {
	for i, k := range req.Keys {
		key, err := ledger.ParseKey(k)
		if err != nil {
			return ledger.Invalid(fmt.Sprintf("create.keys[%d]", i), err.Error())
		}
		w.selector.keys = append(w.selector.keys, key)
	}
	for i, p := range req.Prefixes {
		pattern, err := ledger.ParsePattern(p)
		if err != nil {
			return ledger.Invalid(fmt.Sprintf("create.prefixes[%d]", i), err.Error())
		}
		key, below := pattern.Split()
		if key != "" {
			if _, err := ledger.ParseKey(string(key)); err == nil {
				w.selector.keys = append(w.selector.keys, key)
			}
		}
		w.selector.prefixes = append(w.selector.prefixes, below)
	}
	if req.InitialState && req.FromRevision > 0 {
		return ledger.Invalid("create.from_revision", "the initial state is that of the head: ask for one of the two")
	}
	w.selector.tidy()
	return nil
}

// idBytes is the id of the commit that led to a revision, as a message has it.
func idBytes(rev ledger.Revision, id ledger.CommitID) []byte {
	if rev == 0 {
		return nil
	}
	return id[:]
}
