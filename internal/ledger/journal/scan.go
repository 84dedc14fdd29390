package journal

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

// Scan yields the current messages of the name, oldest first. It begins at the sequence
// from; if that is 0, with the first message that was stored at since or later. An error is
// ledger.ErrUnavailable, and the last that it yields.
func (s *AuxStream) Scan(ctx context.Context, name string, from ledger.Sequence, since time.Time) iter.Seq2[Message, error] {
	cfg := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy, FilterSubject: s.kind.subject + name}
	switch {
	case from > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, uint64(from)
	case !since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	return func(yield func(Message, error) bool) {
		if err := connected(s.j.nc); err != nil {
			yield(Message{}, fmt.Errorf("read %s%s: %w", s.kind.subject, name, err))
			return
		}
		for d, err := range s.stream.current(ctx, s.j.nc, cfg) {
			if err != nil {
				yield(Message{}, fmt.Errorf("read %s%s: %w: %w", s.kind.subject, name, ledger.ErrUnavailable, err))
				return
			}
			if !yield(Message{Sequence: d.sequence, Time: d.stored, Record: d.Data()}, nil) {
				return
			}
		}
	}
}
