package journal

import (
	"context"
	"errors"
	"fmt"
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

// current hands over the messages that the stream holds now and that cfg selects, in
// their order. It returns handle's errors as they are; a *lostError is all other failures.
//
// A caller that is slow can lose deliveries, because the client drops them when its buffer
// is full, and the consumer, because the server removes it. So it reads again after a
// loss, and skips what it has handed over.
func (s *stream) current(ctx context.Context, nc *nats.Conn, cfg jetstream.ConsumerConfig, handle func(m jetstream.Msg, seq ledger.Sequence, stored time.Time) error) error {
	cfg.InactiveThreshold = currentIdle
	var last ledger.Sequence // that was handed over
	for tries := 1; ; tries++ {
		before := last
		err := s.currentAfter(ctx, nc, cfg, &last, handle)
		if last > before {
			tries = 1
		}
		var lost *lostError
		if !errors.As(err, &lost) || tries == currentTries || ctx.Err() != nil {
			return err
		}
	}
}

// currentAfter reads with one consumer, and hands over what comes after last.
func (s *stream) currentAfter(ctx context.Context, nc *nats.Conn, cfg jetstream.ConsumerConfig, last *ledger.Sequence, handle func(jetstream.Msg, ledger.Sequence, time.Time) error) error {
	consumer, messages, err := s.pull(ctx, nc, cfg)
	if err != nil {
		return &lostError{err}
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	pending := consumer.CachedInfo().NumPending
	for delivery := uint64(1); delivery <= pending; delivery++ {
		m, err := nextCurrent(ctx, consumer, messages, delivery)
		switch {
		case err != nil:
			return &lostError{err}
		case m == nil:
			return nil
		}
		meta, err := m.Metadata()
		if err != nil {
			return &lostError{err}
		}
		if meta.Sequence.Consumer != delivery {
			return &lostError{fmt.Errorf("delivery %d came after %d", meta.Sequence.Consumer, delivery-1)}
		}
		seq := ledger.Sequence(meta.Sequence.Stream)
		if seq <= *last {
			continue
		}
		if err := handle(m, seq, meta.Timestamp); err != nil {
			return err
		}
		*last = seq
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
