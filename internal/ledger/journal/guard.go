package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

// guard checks the streams until the journal is closed, or one of them differs from the
// requirements; stopped is then the reason. DenyDelete alone does not make a stream
// immutable: an update to MaxAge or MaxMsgsPerSubject still destroys history, so no
// more writes are acknowledged after such a change.
func (j *Journal) guard(consequence string, stopped *atomic.Pointer[error], streams ...*stream) {
	tick := time.NewTicker(j.guardInterval)
	defer tick.Stop()
	for {
		select {
		case <-j.ctx.Done():
			return
		case <-tick.C:
		}
		for _, s := range streams {
			if err := j.inspect(s); err != nil {
				j.log.Error(consequence, "reason", err)
				err = fmt.Errorf("%w: %w", ledger.ErrReadOnly, err)
				stopped.Store(&err)
				return
			}
		}
	}
}

// inspect compares one stream with its requirements. An unreachable stream is not a
// difference: appends to it fail anyway.
func (j *Journal) inspect(s *stream) error {
	ctx, cancel := context.WithTimeout(j.ctx, answerTimeout)
	defer cancel()
	// Read before the stream is queried: the answer may lack messages that are appended
	// meanwhile.
	seen := s.seen.Load()
	info, err := s.Info(ctx)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("%s is gone", s.want.Name)
	case err != nil, leaderless(info):
		return nil
	}
	// A leader that was just elected may not have applied all that it holds: what
	// is short must be so at two checks in a row.
	if short := info.State.LastSeq < seen; short != s.short && info.Config.Replicas > 1 {
		s.short = short
		seen = 0
	}
	return s.check(info, seen)
}

// check describes how a stream differs from its requirements.
func (s *stream) check(info *jetstream.StreamInfo, seen uint64) error {
	var diff []string
	differs := func(what string, got, want any) {
		if got != want {
			diff = append(diff, fmt.Sprintf("%s is %v, must be %v", what, got, want))
		}
	}
	got, want := &info.Config, &s.want
	differs("epoch", got.Metadata[metaEpoch], want.Metadata[metaEpoch])
	differs("Subjects", strings.Join(got.Subjects, " "), strings.Join(want.Subjects, " "))
	differs("Retention", got.Retention, want.Retention)
	differs("Discard", got.Discard, want.Discard)
	differs("Storage", got.Storage, want.Storage)
	differs("Compression", got.Compression, want.Compression)
	differs("PersistMode", got.PersistMode, want.PersistMode)
	differs("MaxMsgs", got.MaxMsgs, want.MaxMsgs)
	differs("MaxBytes", got.MaxBytes, want.MaxBytes)
	differs("MaxAge", got.MaxAge, want.MaxAge)
	differs("MaxMsgsPerSubject", got.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	differs("MaxMsgSize", got.MaxMsgSize, want.MaxMsgSize)
	differs("MaxConsumers", got.MaxConsumers, want.MaxConsumers)
	differs("DenyDelete", got.DenyDelete, want.DenyDelete)
	differs("DenyPurge", got.DenyPurge, want.DenyPurge)
	differs("AllowRollup", got.AllowRollup, want.AllowRollup)
	differs("AllowDirect", got.AllowDirect, want.AllowDirect)
	differs("AllowMsgTTL", got.AllowMsgTTL, want.AllowMsgTTL)
	differs("AllowMsgCounter", got.AllowMsgCounter, want.AllowMsgCounter)
	differs("AllowMsgSchedules", got.AllowMsgSchedules, want.AllowMsgSchedules)
	differs("AllowAtomicPublish", got.AllowAtomicPublish, want.AllowAtomicPublish)
	differs("NoAck", got.NoAck, want.NoAck)
	differs("Sealed", got.Sealed, want.Sealed)
	differs("Mirror", got.Mirror != nil, false)
	differs("Sources", len(got.Sources), 0)
	differs("SubjectTransform", got.SubjectTransform != nil, false)

	if got.Replicas < want.Replicas {
		differs("Replicas", got.Replicas, want.Replicas)
	}

	state := &info.State
	if want.DenyDelete { // a bucket loses messages when newer ones replace them
		if state.FirstSeq > 1 {
			differs("first_seq", state.FirstSeq, 1)
		}
		differs("num_deleted", state.NumDeleted, 0)
		differs("messages", state.Msgs, state.LastSeq)
	}
	if state.LastSeq < seen {
		diff = append(diff, fmt.Sprintf("last_seq is %d, but message %d was seen before", state.LastSeq, seen))
	}
	if diff != nil {
		return fmt.Errorf("%s is not as it must be: %s", s.want.Name, strings.Join(diff, "; "))
	}
	s.noteSeen(ledger.Sequence(state.LastSeq))
	return nil
}
