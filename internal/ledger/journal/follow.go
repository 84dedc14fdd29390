package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

const (
	// followBatch bounds the messages that are on their way to handle. So does the
	// longest message, of which there is room for one: all followers of a process share
	// a connection, and a server drops a client to which it cannot send as fast as it
	// reads.
	followBatch = 500
	// heartbeat is how often an idle consumer says that it lives; after two that
	// did not come it is replaced.
	heartbeat = 500 * time.Millisecond
	// retryFirst and retryMost are the waits before a consumer is made again.
	retryFirst = 20 * time.Millisecond
	retryMost  = time.Second
)

// quiet is how long to wait for messages before the server is asked whether it has sent
// something that got lost.
var quiet = 5 * time.Second

// GapError is a journal that does not hold the messages that it must: the one that
// was expected next did not come.
type GapError struct {
	// Want is the sequence that had to come next, Got the one that came.
	Want, Got ledger.Sequence
}

func (e *GapError) Error() string {
	return fmt.Sprintf("stream %s lost messages: after %d comes %d", streamName, e.Want-1, e.Got)
}

// ChangedError is a journal in which another message is in the place of one that was
// seen: the stream was restored from a backup, or created again, and written to.
type ChangedError struct{ Sequence ledger.Sequence }

func (e *ChangedError) Error() string {
	return fmt.Sprintf("stream %s has changed: message %d is not the one that was seen", streamName, e.Sequence)
}

// Follow delivers every message after the given one to handle, in order and once each,
// until ctx ends or handle fails; it returns that error. The zero Message stands for the
// beginning. A missing message is a *GapError. While the stream ends before the given
// message, which a newly elected leader may report, Follow waits: a caller that knows what
// was seen compares it with Last. A lost connection or consumer is replaced; only a closed
// connection ends Follow.
//
// A stream can be replaced while it is followed, but no consumer survives that. So every
// consumer begins with the last message that was seen, and another message in its place is a
// *ChangedError: what a consumer delivers continues what was seen.
func (j *Journal) Follow(ctx context.Context, after Message, handle func(Message) error) error {
	f := follower{j: j, last: after, handle: handle}
	return f.follow(ctx)
}

// Consumer delivers messages of a stream. A stream that is replaced takes its consumers
// with it.
type Consumer struct {
	nc         *nats.Conn
	reconnects uint64 // of the connection, before the consumer was made
	lost       atomic.Bool
}

// Alive reports whether the consumer was not lost, and neither was the connection: the stream is
// still the one whose messages it has delivered.
func (c *Consumer) Alive() bool {
	return !c.lost.Load() && c.nc.IsConnected() && c.nc.Stats().Reconnects == c.reconnects
}

// follower is one call of Follow; last is the newest message handled.
type follower struct {
	j      *Journal
	handle func(Message) error
	last   Message
}

// follow makes a new consumer whenever one is lost.
func (f *follower) follow(ctx context.Context) error {
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		before := f.last.Sequence
		err := f.run(ctx)
		var lost *lostError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.As(err, &lost):
			return err
		case f.j.nc.IsClosed():
			return fmt.Errorf("follow %s: %w: %w", streamName, ledger.ErrUnavailable, err)
		}
		if f.last.Sequence > before {
			wait = retryFirst
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// lostError is the loss of the consumer or of the connection: a new consumer continues.
type lostError struct{ error }

func (e *lostError) Unwrap() error { return e.error }

// run follows with one consumer until that is lost.
func (f *follower) run(ctx context.Context) error {
	from := &Consumer{nc: f.j.nc, reconnects: f.j.nc.Stats().Reconnects}
	defer from.lost.Store(true)
	consumer, messages, err := f.j.consume(ctx, f.last.Sequence)
	if err != nil {
		return &lostError{err}
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	for delivered := uint64(1); ; delivered++ {
		m, err := next(ctx, consumer, messages, delivered)
		if err != nil {
			return &lostError{err}
		}
		got, err := received(m, delivered)
		if err != nil {
			return &lostError{err}
		}
		got.Consumer = from
		seen := delivered == 1 && f.last.Sequence > 0
		want := f.last.Sequence + 1
		if seen {
			want = f.last.Sequence
		}
		switch {
		case got.Sequence != want:
			return &GapError{Want: want, Got: got.Sequence}
		case seen && !bytes.Equal(got.Record, f.last.Record):
			return &ChangedError{got.Sequence}
		case seen:
			continue
		}
		if err := f.handle(got); err != nil {
			return err
		}
		f.last = got
		f.j.stream.noteSeen(got.Sequence)
	}
}

// received is the message of a consumer's delivery, which must have that number: otherwise an
// earlier one was lost.
func received(m jetstream.Msg, delivery uint64) (Message, error) {
	meta, err := m.Metadata()
	if err != nil {
		return Message{}, err
	}
	if meta.Sequence.Consumer != delivery {
		return Message{}, fmt.Errorf("delivery %d came after %d", meta.Sequence.Consumer, delivery-1)
	}
	return Message{Sequence: ledger.Sequence(meta.Sequence.Stream), Time: meta.Timestamp, Record: m.Data()}, nil
}

// next waits for a message, the consumer's delivery of that number. A message that was
// lost with a connection is not sent again. If no later message arrives, the loss is
// detected by asking the server.
func next(ctx context.Context, consumer jetstream.Consumer, messages jetstream.MessagesContext, delivery uint64) (jetstream.Msg, error) {
	for {
		m, err := messages.Next(jetstream.NextMaxWait(quiet))
		if !errors.Is(err, nats.ErrTimeout) {
			return m, err
		}
		info, err := consumer.Info(ctx)
		if err != nil {
			return nil, err
		}
		if sent := info.Delivered.Consumer; sent >= delivery {
			return nil, fmt.Errorf("%d deliveries were sent, and %d came", sent, delivery-1)
		}
	}
}

// consume makes a consumer that begins with the last message that was seen, 0 for none. The
// server removes the previous one once it has been idle for a while.
func (j *Journal) consume(ctx context.Context, seen ledger.Sequence) (jetstream.Consumer, jetstream.MessagesContext, error) {
	// A consumer that starts beyond the stream's end would wait in silence.
	last, err := j.Last(ctx)
	if err != nil {
		return nil, nil, err
	}
	if last < seen {
		return nil, nil, fmt.Errorf("stream %s ends at message %d, but message %d was seen", streamName, last, seen)
	}
	// A cluster that places it on a server which is cut off does not answer.
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	return j.stream.pull(ctx, j.nc, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       max(uint64(seen), 1),
		InactiveThreshold: time.Minute,
	})
}

// pull makes a consumer that says where to begin and what to leave out, and asks
// for its messages.
func (s *stream) pull(ctx context.Context, nc *nats.Conn, cfg jetstream.ConsumerConfig) (jetstream.Consumer, jetstream.MessagesContext, error) {
	consumer, err := s.consumer(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	messages, err := ask(nc, consumer)
	return consumer, messages, err
}

// consumer makes a consumer. It is not replicated: a reader knows by itself how far it
// is.
func (s *stream) consumer(ctx context.Context, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	cfg.AckPolicy, cfg.Replicas, cfg.MemoryStorage = jetstream.AckNonePolicy, 1, true
	return s.CreateConsumer(ctx, cfg)
}

// ask asks for a consumer's messages. One of the longest may be sent ahead, with the
// bytes that the server counts in addition to its payload.
func ask(nc *nats.Conn, consumer jetstream.Consumer) (jetstream.MessagesContext, error) {
	ahead := int(nc.MaxPayload()) + headerRoom
	return consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(followBatch, ahead), jetstream.PullHeartbeat(heartbeat))
}
