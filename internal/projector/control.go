package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/replica"
	sinkstatev1 "github.com/stelehq/stele/internal/projector/sinkstate/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
)

// Control asks the processes that write to sinks, wherever they run.
type Control struct {
	Conn    *nats.Conn
	Journal *journal.Journal
	Replica *replica.Replica
}

// silence is how long the owner of a sink may send nothing while it carries out an order: it
// sends a reply every beat. An owner that dies, or loses the lease before it reads the order,
// sends none.
const (
	beat    = 2 * time.Second
	silence = 10 * time.Second
)

// RepliesIn is how many replies an order that takes so long gets.
func RepliesIn(d time.Duration) int { return int(d/beat) + 1 }

// Ask sends an order to the process that writes to the sink, and returns its
// answer, which may be an error. The error is ledger.ErrUnavailable when no process
// does, when the one that does is silent for ten seconds, or when it does not answer before
// ctx ends: the order may have been carried out.
func (c *Control) Ask(ctx context.Context, sink string, order *sinkstatev1.Order) (*sinkstatev1.Reply, error) {
	body, err := proto.Marshal(order)
	if err != nil {
		return nil, fmt.Errorf("encode an order for sink %s: %w", sink, err)
	}
	inbox := c.Conn.NewInbox()
	replies, err := c.Conn.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("%w: ask the owner of sink %s: %w", ledger.ErrUnavailable, sink, err)
	}
	defer replies.Unsubscribe() // fails only when the connection is closed
	if err := c.Conn.PublishRequest(orderSubject(sink), inbox, body); err != nil {
		return nil, fmt.Errorf("%w: ask the owner of sink %s: %w", ledger.ErrUnavailable, sink, err)
	}
	for {
		reply, err := nextReply(ctx, sink, replies)
		if err != nil || !reply.Working {
			return reply, err
		}
	}
}

func nextReply(ctx context.Context, sink string, replies *nats.Subscription) (*sinkstatev1.Reply, error) {
	wait, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	m, err := replies.NextMsgWithContext(wait)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("%w: no process writes to sink %s now: run one with the role projector", ledger.ErrUnavailable, sink)
	case err != nil && ctx.Err() == nil && wait.Err() != nil:
		return nil, fmt.Errorf("%w: the owner of sink %s has sent nothing for %s: it may have ended, or another process may have taken over; try again", ledger.ErrUnavailable, sink, silence)
	case err != nil:
		return nil, fmt.Errorf("%w: ask the owner of sink %s: %w", ledger.ErrUnavailable, sink, err)
	}
	reply := &sinkstatev1.Reply{}
	if err := proto.Unmarshal(m.Data, reply); err != nil {
		return nil, fmt.Errorf("decode the answer of sink %s: %w", sink, err)
	}
	return reply, nil
}

// readTimeout bounds reads of the auxiliary streams.
const readTimeout = 5 * time.Second

// Left is the state that the last owner of a sink without one has left, for a tenant or
// for all: its progress, and the number of parked keys.
func (c *Control) Left(ctx context.Context, sink string, t ledger.Tenant) (*stelev1.SinkStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	bucket, err := c.Journal.OpenBucket(ctx, journal.Sinks)
	if err != nil {
		return nil, err
	}
	st := &stelev1.SinkStatus{Name: sink}
	at := make(map[ledger.Tenant]ledger.Revision)
	for part := range positionParts {
		kept, _, err := readPositions(ctx, bucket, sink, part)
		if err != nil {
			return nil, err
		}
		for name, rev := range kept.Revisions {
			at[ledger.Tenant(name)] = ledger.Revision(rev)
		}
	}
	for _, h := range c.Replica.Heads("") {
		if t != "" && h.Tenant != t {
			continue
		}
		head := h.Head.Revision
		st.LagRevisions += uint64(head - min(head, at[h.Tenant]))
		if h.Tenant == t {
			st.Position, st.Head = uint64(at[t]), uint64(head)
		}
	}
	stop, _, err := readStop(ctx, bucket, sink)
	if err != nil {
		return nil, err
	}
	st.Stopped = stop.Reason
	letters, err := c.letters(ctx, sink, t)
	st.Parked = waiting(letters)
	return st, err
}

// Parked lists the dead letters of a sink, of a tenant or of all.
func (c *Control) Parked(ctx context.Context, sink string, t ledger.Tenant) (*stelev1.ListParkedResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	letters, err := c.letters(ctx, sink, t)
	if err != nil {
		return nil, err
	}
	resp := &stelev1.ListParkedResponse{}
	if len(letters) > maxListed {
		letters, resp.More = letters[:maxListed], true
	}
	for _, l := range letters {
		resp.Parked = append(resp.Parked, l.proto())
	}
	return resp, nil
}

func (c *Control) letters(ctx context.Context, sink string, t ledger.Tenant) ([]letter, error) {
	bucket, err := c.Journal.OpenBucket(ctx, journal.Parked)
	if err != nil {
		return nil, err
	}
	var letters []letter
	for l, err := range readLetters(ctx, bucket, sink) {
		if err != nil {
			return nil, err
		}
		if t == "" || l.Tenant == t {
			letters = append(letters, l.letter)
		}
	}
	sortLetters(letters)
	return letters, nil
}
