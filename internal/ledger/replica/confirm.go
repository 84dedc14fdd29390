package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/follower"
	"github.com/stelehq/stele/internal/ledger/journal"
)

// deliveryWait is how long Confirm waits for the journal to deliver a message until it reads
// the one before it.
const deliveryWait = 20 * time.Millisecond

// Compared is nil once the journal was found to hold everything that the replica has seen.
// Until then the error is ledger.ErrUnavailable, and ledger.ErrReadOnly if it does not.
func (r *Replica) Compared() error {
	if err := r.Stopped(); err != nil {
		return fmt.Errorf("%w: %w", ledger.ErrReadOnly, err)
	}
	if s := r.store.Load(); s == nil || !s.wasCompared() {
		return fmt.Errorf("%w: the journal is being compared with the replica, which has seen %d messages of it", ledger.ErrUnavailable, r.Position())
	}
	return nil
}

// Confirm blocks until the message at seq, which this process has appended and applied, is
// known to continue everything that the replica has seen. Its sequence alone does not say so: a
// journal that was restored from a backup and written to may have the same length.
//
// Replacing the stream ends the consumer that delivers its messages. So while that consumer is
// alive, the stream is the one whose messages were compared. If it is being replaced, Confirm
// waits a moment for the next consumer to deliver the message, and otherwise reads and compares
// the messages before it. A contradiction stops the replica.
func (r *Replica) Confirm(ctx context.Context, seq ledger.Sequence) error {
	s := r.store.Load()
	if s == nil {
		return errNotBuilt
	}
	if s.delivering() {
		return nil
	}
	for {
		err := s.waitDelivered(ctx, seq)
		stopped := r.Stopped()
		switch {
		case stopped != nil:
			return stopped
		case err == nil:
			return nil
		case ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("wait for the journal to deliver message %d: %w", seq, err)
		}
		err = r.compareBefore(ctx, s, seq)
		switch {
		case err == nil:
			s.confirm(seq, nil)
			return nil
		case follower.Contradiction(err):
			r.stop(err)
			return r.Stopped()
		}
	}
}

var errDelivered = errors.New("a consumer delivers the journal's messages")

// CatchUp reads and applies the message at seq, the next one, unless a consumer delivers the
// journal's messages. The messages before it must be those that were applied.
func (r *Replica) CatchUp(ctx context.Context, seq ledger.Sequence) error {
	s := r.store.Load()
	if s == nil {
		return errNotBuilt
	}
	if s.delivering() {
		return errDelivered
	}
	if err := r.compareBefore(ctx, s, seq); err != nil {
		if follower.Contradiction(err) {
			r.stop(err)
			return r.Stopped()
		}
		return err
	}
	m, err := (*r.journal.Load()).Read(ctx, seq)
	if err != nil {
		return err
	}
	commits, err := decode(m)
	if err != nil {
		return err
	}
	if err := r.apply(ctx, s, seq, commits); err != nil {
		return err
	}
	s.confirm(seq, nil) // the leader holds it, and everything before it
	return nil
}

// compareBefore reads the messages before seq from the last confirmed one on. They must be
// those that were applied: one that this process has appended alone proves nothing, because it
// may have followed another message.
func (r *Replica) compareBefore(ctx context.Context, s *store, seq ledger.Sequence) error {
	j := *r.journal.Load()
	for before := max(s.lastConfirmed(), 1); before < seq; before++ {
		m, err := j.Read(ctx, before)
		if err != nil {
			return err
		}
		if err := (&followed{r, s}).Same(m); err != nil {
			return err
		}
	}
	return nil
}

// confirm notes that the journal holds everything that was seen, up to seq, and the consumer
// that has delivered the message, if one has.
func (s *store) confirm(seq ledger.Sequence, from *journal.Consumer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compared, s.confirmed = true, max(s.confirmed, seq)
	if from != nil {
		s.consumer = from
	}
	if s.arrival != nil {
		close(s.arrival)
		s.arrival = nil
	}
}

// delivering reports whether the consumer that has delivered the messages so far is alive.
func (s *store) delivering() bool {
	s.mu.RLock()
	consumer := s.consumer
	s.mu.RUnlock()
	return consumer != nil && consumer.Alive()
}

func (s *store) lastConfirmed() ledger.Sequence {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.confirmed
}

func (s *store) wasCompared() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.compared
}

// waitDelivered waits for a delivery for a while.
func (s *store) waitDelivered(ctx context.Context, seq ledger.Sequence) error {
	ctx, cancel := context.WithTimeout(ctx, deliveryWait)
	defer cancel()
	return s.await(ctx, func() *chan struct{} {
		if s.confirmed >= seq {
			return nil
		}
		return &s.arrival
	})
}

// journalReader reads one message.
type journalReader interface {
	Read(ctx context.Context, seq ledger.Sequence) (journal.Message, error)
}
