package watch

import (
	"context"
	"sync"
	"time"

	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A stream's backlog: messages that its client has not received yet.
const (
	maxBacklogFrames = 4096
	maxBacklogBytes  = 16 << 20
	// MaxWaiting is the size, in bytes, up to which a backlog is filled with messages that can
	// wait until there is room: a few pages of state.
	MaxWaiting = view.MaxPageBytes
)

// Stream is one client's stream. One goroutine receives, one sends.
type Stream struct {
	Tenant  ledger.Tenant
	subject string
	quota   *policy.Quota // nil: its watches are not counted
	// answers is the memory for queued messages.
	answers *budget.Share

	mu      sync.Mutex
	backlog []Frame
	bytes   int // of the backlog and of what is being sent
	watches map[uint64]*Watch
	// skipped holds, for each watch that fell behind and asked for the newest state only, the
	// keys that have changed since.
	skipped map[*Watch]*skipped
	wake    chan struct{} // holds one token while there is something to send
	room    chan struct{} // holds one token after something was sent
}

// NewStream makes the stream of a caller. A nil quota counts nothing. Call Close when Send has
// returned.
func NewStream(c policy.Caller, q *policy.Quota, answers *budget.Share) *Stream {
	return &Stream{
		Tenant:  c.Tenant,
		subject: c.Subject,
		quota:   q,
		answers: answers,
		watches: make(map[uint64]*Watch),
		skipped: make(map[*Watch]*skipped),
		wake:    make(chan struct{}, 1),
		room:    make(chan struct{}, 1),
	}
}

// Add records a new watch. The error ends the stream: canceling the new watch would
// cancel the older one with the same id for the client.
func (ws *Stream) Add(w *Watch) error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.watches[w.ID] != nil {
		return status.Errorf(codes.AlreadyExists, "create.id: a watch with the id %d is open on this stream: choose another", w.ID)
	}
	if len(ws.watches) >= maxWatches {
		return status.Errorf(codes.ResourceExhausted, "a stream carries at most %d watches: open another stream", maxWatches)
	}
	ws.watches[w.ID] = w
	return nil
}

// Forget removes a watch from the stream, with its skipped changes.
func (ws *Stream) Forget(id uint64) *Watch {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.watches[id]
	delete(ws.watches, id)
	delete(ws.skipped, w)
	ws.discount(w)
	return w
}

// Count counts a watch as one of its tenant's, if there may be one more.
func (ws *Stream) Count(w *Watch) error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.quota == nil {
		return nil
	}
	err := ws.quota.Watch(ws.subject)
	w.counted = err == nil
	return err
}

// discount must be called with ws.mu held.
func (ws *Stream) discount(w *Watch) {
	if w != nil && w.counted {
		w.counted = false
		ws.quota.Unwatch(ws.subject)
	}
}

// Close takes all of the stream's watches out of the hub and drops what is queued.
func (ws *Stream) Close(h *Hub) {
	ws.mu.Lock()
	all := ws.watches
	ws.watches = nil
	for _, w := range all {
		ws.discount(w)
	}
	ws.mu.Unlock()
	for _, w := range all {
		h.Leave(w)
	}
	ws.mu.Lock()
	dropped := ws.backlog
	ws.backlog = nil
	ws.mu.Unlock()
	drop(dropped)
}

// drop releases frames that are not sent.
func drop(frames []Frame) {
	for _, f := range frames {
		f.Body.Release()
	}
}

// hasRoom must be called with ws.mu held.
func (ws *Stream) hasRoom() bool {
	return len(ws.backlog) < maxBacklogFrames && ws.bytes < maxBacklogBytes
}

// enqueue must be called with ws.mu held. It adds a reference to the body.
func (ws *Stream) enqueue(f Frame) {
	f.Body.Retain()
	ws.backlog = append(ws.backlog, f)
	ws.bytes += f.size()
	notify(ws.wake)
}

// enqueueAll must be called with ws.mu held.
func (ws *Stream) enqueueAll(head []byte, bodies []*Body) {
	for _, body := range bodies {
		ws.enqueue(Frame{head, body})
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Event queues a message whatever the size of the backlog: a few per watch, each small.
func (ws *Stream) Event(m *stelev1.WatchResponse) {
	body := newBody(nil, encodeEvent(m))
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.enqueue(Frame{Body: body})
}

// Canceled notifies a watch that it has ended; missed is the commit to resume from, or nil.
func (ws *Stream) Canceled(id uint64, why *status.Status, missed *ledger.Commit) {
	end := &stelev1.WatchCanceled{Status: why.Proto()}
	if missed != nil {
		end.ResumeRevision, end.ResumeAfterId = uint64(missed.Revision), view.IDBytes(missed.Revision-1, missed.Parent)
	}
	ws.Event(&stelev1.WatchResponse{Ids: []uint64{id}, Event: &stelev1.WatchResponse_Canceled{Canceled: end}})
}

// cancelSlow cancels a watch that is slow, or whose commit does not fit into memory, with
// the revision to resume from.
func (ws *Stream) cancelSlow(w *Watch, missed *ledger.Commit, fits bool) {
	ws.Forget(w.ID)
	if !fits {
		ws.Canceled(w.ID, status.Newf(codes.ResourceExhausted, "the gateway has no memory for the commit now: create the watch again from %s", missed.Revision), missed)
		return
	}
	ws.mu.Lock()
	messages, size := len(ws.backlog), ws.bytes
	ws.mu.Unlock()
	ws.Canceled(w.ID, status.Newf(codes.ResourceExhausted, "the watch is too slow: %d messages of %d bytes wait; create it again from %s", messages, size, missed.Revision), missed)
}

// receiveTimeout is how long a client may receive nothing while a watch reads the past or
// the state for it.
const receiveTimeout = time.Minute

var errNotReceived = status.Errorf(codes.ResourceExhausted, "the client has received nothing for %s: create the watch again", receiveTimeout)

// waitRoom waits until there is room in the backlog.
func (ws *Stream) waitRoom(ctx context.Context) error {
	room, cancel := context.WithTimeoutCause(ctx, receiveTimeout, errNotReceived)
	defer cancel()
	if ws.Wait(room, MaxWaiting, maxBacklogFrames) != nil {
		return context.Cause(room)
	}
	return nil
}

// Reserve waits for room in the backlog, and takes memory for a message of so many bytes.
func (ws *Stream) Reserve(ctx context.Context, bytes int) error {
	if err := ws.waitRoom(ctx); err != nil {
		return err
	}
	return ws.answers.AcquireFirst(ctx, int64(bytes))
}

// Unreserve gives back memory that Reserve has taken and Push has not used.
func (ws *Stream) Unreserve(bytes int) { ws.answers.Release(int64(bytes)) }

// Push queues a message, if its memory is reserved, or there is room in the backlog and
// memory for it now.
func (ws *Stream) Push(head, body []byte, reserved bool) bool {
	if !reserved && !(ws.below(MaxWaiting, maxBacklogFrames) && ws.answers.TryAcquire(int64(len(body)))) {
		return false
	}
	ws.push(Frame{head, newBody(ws.answers, body)})
	return true
}

// push queues a message, whose body has its memory.
func (ws *Stream) push(f Frame) {
	defer f.Body.Release()
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.enqueue(f)
}

// Wait waits until the backlog is smaller than both. Only one goroutine may: the one
// that receives.
func (ws *Stream) Wait(ctx context.Context, bytes, frames int) error {
	for !ws.below(bytes, frames) {
		select {
		case <-ws.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// below reports whether the backlog is smaller than both.
func (ws *Stream) below(bytes, frames int) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.bytes < bytes && len(ws.backlog) < frames
}

// deliver queues a commit for the stream's watches of one group, without waiting, if there is
// memory for it. It returns the watches without room for it.
func (ws *Stream) deliver(m *membership, c *ledger.Commit, bodies []*Body, fits bool) (tooSlow []*Watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	size := 0
	for _, b := range bodies {
		size += len(b.data)
	}
	// A larger commit is sent to a watch that resumes there, as fast as it is received.
	room := fits && ws.hasRoom() && size <= maxBacklogBytes
	if room && m.until < c.Revision && len(ws.skipped) == 0 {
		if m.head == nil {
			m.head = EncodeIDs(m.watches)
		}
		ws.enqueueAll(m.head, bodies)
		return nil
	}
	var now []*Watch
	for _, w := range m.watches {
		switch {
		case w.after >= c.Revision: // it has got this commit from the replica
		case ws.skipped[w] != nil, !room && w.NewestOnly:
			ws.skip(w, c)
		case room:
			now = append(now, w)
		default:
			tooSlow = append(tooSlow, w)
		}
	}
	if len(now) > 0 {
		ws.enqueueAll(EncodeIDs(now), bodies)
	}
	return tooSlow
}

// progress notifies the live watches that everything up to head was queued. The hub's
// lock is held.
func (ws *Stream) progress(r *replica.Replica, head ledger.Revision) {
	v, err := r.View(ws.Tenant, replica.At{})
	if err != nil {
		return // nothing is known that could be promised
	}
	snapshot := view.SnapshotOf(v)
	id, err := v.ID(head)
	v.Close()
	if err != nil {
		return
	}
	snapshot.Revision, snapshot.Id = uint64(head), view.IDBytes(head, id)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	m := &stelev1.WatchResponse{Event: &stelev1.WatchResponse_Progress{Progress: &stelev1.WatchProgress{Snapshot: snapshot}}}
	for id, w := range ws.watches {
		if w.group != nil && w.after <= head && ws.skipped[w] == nil {
			m.Ids = append(m.Ids, id)
		}
	}
	if len(m.Ids) > 0 && ws.hasRoom() {
		ws.enqueue(Frame{Body: newBody(nil, encodeEvent(m))})
	}
}

// Send writes queued messages to the client until ctx ends. Once the backlog is empty, the
// watches that have skipped commits get the state that these have led to.
func (ws *Stream) Send(ctx context.Context, h *Hub, stream grpc.ServerStream) error {
	for {
		frames := ws.take()
		if len(frames) == 0 {
			queued, err := ws.queueSkipped(ctx, h)
			if err != nil {
				return err
			}
			if queued {
				continue
			}
			select {
			case <-ws.wake:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := ws.sendAll(stream, frames); err != nil {
			return err
		}
	}
}

func (ws *Stream) sendAll(stream grpc.ServerStream, frames []Frame) error {
	defer func() { drop(frames) }() // those that are left after an error or a panic
	for ; len(frames) > 0; frames = frames[1:] {
		if err := stream.SendMsg(frames[0]); err != nil {
			return err
		}
		ws.sent(frames[0])
	}
	return nil
}

func (ws *Stream) sent(f Frame) {
	f.Body.Release()
	ws.mu.Lock()
	ws.bytes -= f.size()
	ws.mu.Unlock()
	notify(ws.room)
}

// take empties the backlog.
func (ws *Stream) take() []Frame {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	frames := ws.backlog
	ws.backlog = nil
	return frames
}

func encodeState(id uint64, page *stelev1.WatchState) []byte {
	return encodeEvent(&stelev1.WatchResponse{Ids: []uint64{id}, Event: &stelev1.WatchResponse_State{State: page}})
}
