package journal

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

const (
	// currentIdle is how long a consumer of current may be idle until the server removes
	// it. A server allows 1,000 consumers on a stream, and lists are read often.
	currentIdle = time.Second
	// currentTries is how often in a row current reads again without getting any further.
	currentTries = 3
)

// delivery is a message of a stream.
type delivery struct {
	Message
	subject string
}

// current yields the messages that the stream holds now and that cfg selects, in their
// order. An error is the last that it yields.
//
// A caller that is slow can lose deliveries, because the client drops them when its buffer
// is full, and the consumer, because the server removes it. So it reads again after a
// loss, and skips the messages that it has yielded.
func (s *stream) current(ctx context.Context, nc *nats.Conn, cfg jetstream.ConsumerConfig) iter.Seq2[delivery, error] {
	cfg.InactiveThreshold = currentIdle
	return func(yield func(delivery, error) bool) {
		var last ledger.Sequence // that was yielded
		for tries := 1; ; tries++ {
			before := last
			err := s.currentAfter(ctx, nc, cfg, &last, yield)
			if err == nil {
				return
			}
			if last > before {
				tries = 1
			}
			if tries == currentTries || ctx.Err() != nil {
				yield(delivery{}, err)
				return
			}
		}
	}
}

// currentAfter reads with one consumer, and yields the messages after last. It returns nil
// when all are read or yield returns false.
func (s *stream) currentAfter(ctx context.Context, nc *nats.Conn, cfg jetstream.ConsumerConfig, last *ledger.Sequence, yield func(delivery, error) bool) error {
	consumer, messages, err := s.pull(ctx, nc, cfg)
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	pending := consumer.CachedInfo().NumPending
	for number := uint64(1); number <= pending; number++ {
		m, err := nextCurrent(ctx, consumer, messages, number)
		switch {
		case err != nil:
			return err
		case m == nil:
			return nil
		}
		got, err := received(m, number)
		if err != nil {
			return err
		}
		if got.Sequence <= *last {
			continue
		}
		*last = got.Sequence
		if !yield(delivery{got, m.Subject()}, nil) {
			return nil
		}
	}
	return nil
}

// nextCurrent is next for messages that may be removed while they are read: then nil,
// when no more will come.
func nextCurrent(ctx context.Context, consumer jetstream.Consumer, messages jetstream.MessagesContext, delivery uint64) (jetstream.Msg, error) {
	const quiet = 100 * time.Millisecond // a caller waits for the list
	for {
		m, err := messages.Next(jetstream.NextMaxWait(quiet))
		if !errors.Is(err, nats.ErrTimeout) {
			return m, err
		}
		info, err := consumer.Info(ctx)
		switch {
		case err != nil:
			return nil, err
		case info.Delivered.Consumer >= delivery: // it is on its way, or lost
			return next(ctx, consumer, messages, delivery)
		case info.NumPending == 0:
			return nil, nil
		}
	}
}
