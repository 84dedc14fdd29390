package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

// Scan passes the current messages of the name to yield, oldest first, each with its
// sequence and the time at which it was stored, until yield returns false. It begins at
// the sequence from; if that is 0, with the first message that was stored at since or
// later. Errors are ledger.ErrUnavailable.
func (s *AuxStream) Scan(ctx context.Context, name string, from ledger.Sequence, since time.Time, yield func(seq ledger.Sequence, stored time.Time, body []byte) bool) error {
	if err := connected(s.j.nc); err != nil {
		return fmt.Errorf("read %s%s: %w", s.kind.subject, name, err)
	}
	if err := s.scan(ctx, name, from, since, yield); err != nil {
		return fmt.Errorf("read %s%s: %w: %w", s.kind.subject, name, ledger.ErrUnavailable, err)
	}
	return nil
}

func (s *AuxStream) scan(ctx context.Context, name string, from ledger.Sequence, since time.Time, yield func(ledger.Sequence, time.Time, []byte) bool) error {
	cfg := jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverAllPolicy,
		FilterSubject:     s.kind.subject + name,
		InactiveThreshold: answerTimeout, // then the server removes it
	}
	switch {
	case from > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, uint64(from)
	case !since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	consumer, messages, err := s.stream.pull(ctx, s.j.nc, cfg)
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	there := consumer.CachedInfo().NumPending
	for delivery := uint64(1); delivery <= there; delivery++ {
		m, err := next(ctx, consumer, messages, delivery)
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if !yield(ledger.Sequence(meta.Sequence.Stream), meta.Timestamp, m.Data()) {
			return nil
		}
	}
	return nil
}
