package journal

import (
	"context"
	"errors"
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
	cfg := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy, FilterSubject: s.kind.subject + name}
	switch {
	case from > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, uint64(from)
	case !since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	err := s.stream.current(ctx, s.j.nc, cfg, func(m jetstream.Msg, seq ledger.Sequence, stored time.Time) error {
		if !yield(seq, stored, m.Data()) {
			return errEnough
		}
		return nil
	})
	var lost *lostError
	if errors.As(err, &lost) {
		return fmt.Errorf("read %s%s: %w: %w", s.kind.subject, name, ledger.ErrUnavailable, lost.error)
	}
	return nil // all was read, or enough
}

// errEnough ends a Scan whose caller has what it was looking for.
var errEnough = errors.New("enough was read")
