package rest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"github.com/stelehq/stele/internal/gateway/task"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	// maxWatches are open at a time. Each takes a connection of HTTP and a stream of the gateway,
	// and several times the memory of a watch of gRPC.
	maxWatches = 900
	// heartbeat is how often something is sent, so that proxies do not close a quiet
	// connection.
	heartbeat = 15 * time.Second
	// sendTimeout is how long a reader may take nothing.
	sendTimeout = 20 * time.Second
)

var errTooManyWatches = status.Errorf(codes.Unavailable, "you have too many watches here: all tenants share %d; close some, try another gateway, or use gRPC, which carries many on one connection", maxWatches)

// watch follows changes as server-sent events until the caller, or its token, goes.
func (a *api) watch(w http.ResponseWriter, r *http.Request, values url.Values) {
	create, err := watchRequest(r.Header, values)
	if err != nil {
		fail(w, err)
		return
	}
	leave, err := a.enter(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	defer leave()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream, err := a.config.Watch(ctx)
	if err == nil {
		err = stream.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: create}})
	}
	var first *stelev1.WatchResponse
	if err == nil || errors.Is(err, io.EOF) { // then Recv says why
		first, err = stream.Recv()
	}
	if err == nil && first.GetCanceled() != nil { // while an error can still be a status
		err = status.ErrorProto(first.GetCanceled().Status)
	}
	if err != nil {
		fail(w, err)
		return
	}
	e := startEvents(w)
	follow(ctx, cancel, e, stream.Recv, first, func(m *stelev1.WatchResponse) (last bool, err error) {
		return m.GetCanceled() != nil, e.event(m, create)
	})
}

// enter takes one of the slots for watches, for the verified caller.
func (a *api) enter(ctx context.Context) (leave func(), err error) {
	status, err := a.ledger.GetStatus(ctx, &stelev1.GetStatusRequest{})
	if err != nil {
		return nil, err
	}
	leave, ok := a.watches.Take(status.GetPrincipal().GetTenant(), status.GetPrincipal().GetSubject())
	if !ok {
		return nil, errTooManyWatches
	}
	return leave, nil
}

// startEvents answers with a stream of events.
func startEvents(w http.ResponseWriter) *events {
	e := &events{w: w, control: http.NewResponseController(w)}
	e.control.SetReadDeadline(time.Time{}) // nothing more is read
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy's that would collect events
	w.WriteHeader(http.StatusOK)
	return e
}

// watchRequest reads what to watch. Without keys and prefixes that is everything.
func watchRequest(h http.Header, values url.Values) (*stelev1.CreateWatch, error) {
	for short, long := range map[string]string{"key": "keys", "prefix": "prefixes"} {
		if values.Has(long) {
			return nil, invalid(long, "there is no such parameter")
		}
		if values.Has(short) {
			values[long] = values[short]
			delete(values, short)
		}
	}
	create := &stelev1.CreateWatch{}
	if err := (query{}).Parse(create, values, utilities.NewDoubleArray([][]string{{"id"}})); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	create.Id = 1
	if len(create.Keys)+len(create.Prefixes) == 0 {
		create.Prefixes = []string{""}
	}
	if last := h.Values("Last-Event-ID"); len(last) > 0 {
		seen, id, ok := parsePlace(last[len(last)-1])
		if !ok {
			return nil, invalid("last-event-id", "it is not REVISION-ID as an event had it: to begin at a revision, send from_revision")
		}
		create.FromRevision, create.AfterId, create.InitialState = seen+1, id, false
	}
	return create, nil
}

// follow sends the first message and those that recv returns as events, until one is the
// last. One goroutine receives: it ends with ctx.
func follow[M any](ctx context.Context, cancel context.CancelFunc, e *events, recv func() (M, error), first M, send func(M) (last bool, err error)) {
	incoming := make(chan M)
	var ended error
	go func() {
		defer close(incoming)
		ended = task.Run(func() (err error) {
			for m := first; ; {
				select {
				case incoming <- m:
				case <-ctx.Done():
					return ctx.Err()
				}
				if m, err = recv(); err != nil {
					return err
				}
			}
		})
	}()
	defer func() {
		cancel()
		for range incoming { // until it has ended
		}
	}()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case m, more := <-incoming:
			if !more {
				if bug := new(task.PanicError); errors.As(ended, &bug) {
					panic(bug) // the server logs it, and closes the connection
				}
				if ctx.Err() == nil {
					e.send("error", "", status.Convert(ended).Proto())
				}
				return
			}
			var last bool
			if last, err = send(m); last {
				return
			}
		case <-beat.C:
			err = e.write(":\n\n")
		}
		if err != nil {
			return
		}
	}
}

// watchAll sends the commits of all tenants as server-sent events until the caller, or its
// token, goes.
func (a *api) watchAll(w http.ResponseWriter, r *http.Request, values url.Values) {
	req, err := watchAllRequest(r.Header, values)
	if err != nil {
		fail(w, err)
		return
	}
	leave, err := a.enter(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	defer leave()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream, err := a.ledger.WatchAllCommits(ctx, req)
	var first *stelev1.WatchAllCommitsResponse
	if err == nil {
		first, err = stream.Recv() // while an error can still be a status
	}
	if err != nil {
		fail(w, err)
		return
	}
	e := startEvents(w)
	follow(ctx, cancel, e, stream.Recv, first, func(m *stelev1.WatchAllCommitsResponse) (last bool, err error) {
		return false, e.placed(m)
	})
}

// watchAllRequest reads where to begin.
func watchAllRequest(h http.Header, values url.Values) (*stelev1.WatchAllCommitsRequest, error) {
	req := &stelev1.WatchAllCommitsRequest{}
	if err := (query{}).Parse(req, values, utilities.NewDoubleArray(nil)); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if ids := h.Values("Last-Event-ID"); len(ids) > 0 {
		position, ok := uint64(0), false
		if req.Epoch, position, req.Last, ok = parsePosition(ids[len(ids)-1]); !ok {
			return nil, invalid("last-event-id", "it is not EPOCH-POSITION or EPOCH-POSITION-REVISION-ID-TENANT as an event had it")
		}
		req.AfterPosition = &position
	}
	return req, nil
}

// positionID names a position of the journal and the last commit up to it.
func positionID(epoch []byte, position uint64, last *stelev1.CommitRef) string {
	id := fmt.Sprintf("%x-%d", epoch, position)
	if last == nil {
		return id
	}
	return id + "-" + place(last.Revision, last.Id) + "-" + last.Tenant
}

// parsePosition reads what positionID has written.
func parsePosition(text string) (epoch []byte, position uint64, last *stelev1.CommitRef, ok bool) {
	parts := strings.SplitN(text, "-", 5)
	if len(parts) != 2 && len(parts) != 5 {
		return nil, 0, nil, false
	}
	epoch, err := hex.DecodeString(parts[0])
	if err != nil || len(epoch) == 0 {
		return nil, 0, nil, false
	}
	if position, err = strconv.ParseUint(parts[1], 10, 64); err != nil {
		return nil, 0, nil, false
	}
	if len(parts) == 5 {
		last = &stelev1.CommitRef{Tenant: parts[4]}
		if last.Revision, last.Id, ok = parsePlace(parts[2] + "-" + parts[3]); !ok {
			return nil, 0, nil, false
		}
	}
	return epoch, position, last, true
}

// placed sends the commits of a response, or its position and age if it has none. Only
// the last commit of a position has an id: a reader that resumes there has them all.
func (e *events) placed(m *stelev1.WatchAllCommitsResponse) error {
	for i, c := range m.Commits {
		last := c.Position <= m.Position && (i+1 == len(m.Commits) || m.Commits[i+1].Position != c.Position)
		var at string
		if last {
			commit := c.GetInfo().GetCommit()
			at = positionID(m.Epoch, c.Position, &stelev1.CommitRef{Tenant: commit.GetTenant(), Revision: commit.GetRevision(), Id: c.GetInfo().GetId()})
		}
		if err := e.send("commit", at, c); err != nil {
			return err
		}
	}
	if len(m.Commits) > 0 {
		return nil
	}
	return e.send("progress", positionID(m.Epoch, m.Position, m.Last), m)
}

// events is where server-sent events go to.
type events struct {
	w       io.Writer
	control *http.ResponseController
}

// event sends what happened to the watch. The id names the commit up to which the
// reader has everything once it has this, so that it can resume after it.
func (e *events) event(m *stelev1.WatchResponse, create *stelev1.CreateWatch) error {
	switch ev := m.Event.(type) {
	case *stelev1.WatchResponse_Created:
		switch {
		case len(create.AfterId) > 0:
			return e.send("created", place(create.FromRevision-1, create.AfterId), ev.Created)
		case create.FromRevision > 0, create.InitialState:
			return e.send("created", "", ev.Created)
		}
		return e.send("created", place(ev.Created.GetSnapshot().GetRevision(), ev.Created.GetSnapshot().GetId()), ev.Created)
	case *stelev1.WatchResponse_State:
		if ev.State.More {
			return e.send("state", "", ev.State)
		}
		return e.send("state", place(ev.State.Revision, ev.State.Id), ev.State)
	case *stelev1.WatchResponse_Commit:
		if ev.Commit.More {
			return e.send("commit", "", ev.Commit)
		}
		return e.send("commit", place(ev.Commit.Revision, ev.Commit.Id), ev.Commit)
	case *stelev1.WatchResponse_Progress:
		s := ev.Progress.GetSnapshot()
		return e.send("progress", place(s.GetRevision(), s.GetId()), ev.Progress)
	case *stelev1.WatchResponse_Canceled:
		if resume := ev.Canceled.ResumeRevision; resume > 0 {
			return e.send("canceled", place(resume-1, ev.Canceled.ResumeAfterId), ev.Canceled)
		}
		return e.send("canceled", "", ev.Canceled)
	}
	return nil
}

func (e *events) send(name, id string, m proto.Message) error {
	data, err := encode(m)
	if err != nil {
		return err
	}
	if id != "" {
		id = "id: " + id + "\n"
	}
	return e.write(fmt.Sprintf("%sevent: %s\ndata: %s\n", id, name, data)) // data ends in a line's end
}

// write sends text now, or gives a reader up that takes nothing.
func (e *events) write(text string) error {
	e.control.SetWriteDeadline(time.Now().Add(sendTimeout))
	if _, err := io.WriteString(e.w, text); err != nil {
		return err
	}
	return e.control.Flush()
}
