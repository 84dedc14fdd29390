package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

const (
	// backSpan is how many sequences ScanBack reads at first. It reads twice as many next if
	// less than a quarter of them has the name.
	backSpan = 512
	// backBytes is how much of a span ScanBack holds. It reads half as many sequences if the
	// messages of a span have more bytes.
	backBytes = 4 << 20
)

// Scan yields the current messages of the name, oldest first, from a sequence on. An error is
// ledger.ErrUnavailable, and the last that it yields.
func (s *AuxStream) Scan(ctx context.Context, name string, from ledger.Sequence) iter.Seq2[Message, error] {
	return s.scan(ctx, name, jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: uint64(max(from, 1))})
}

func (s *AuxStream) scan(ctx context.Context, name string, cfg jetstream.ConsumerConfig) iter.Seq2[Message, error] {
	cfg.FilterSubject = s.kind.subject + name
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
			if !yield(d.Message, nil) {
				return
			}
		}
	}
}

// ScanBack yields the current messages of the name, newest first: those below the sequence
// before or, if that is 0, those that were stored before until, which is zero for all. An
// error is ledger.ErrUnavailable, and the last that it yields.
//
// A stream can only be read forward, so ScanBack reads it in spans of sequences, from the last
// to the first.
func (s *AuxStream) ScanBack(ctx context.Context, name string, before ledger.Sequence, until time.Time) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		end, err := s.endOf(ctx, name, before, until)
		if err != nil {
			yield(Message{}, err)
			return
		}
		for width := ledger.Sequence(backSpan); end > 1; {
			from := end - min(width, end-1)
			span, err := s.span(ctx, name, from, end)
			switch {
			case errors.Is(err, errLongSpan):
				width = (end - from) / 2
				continue
			case err != nil:
				yield(Message{}, err)
				return
			}
			for _, m := range slices.Backward(span) {
				if !yield(m, nil) {
					return
				}
			}
			if end = from; len(span) < backSpan/4 {
				width *= 2
			}
		}
	}
}

// endOf is the sequence at which ScanBack begins; its message is not yielded.
func (s *AuxStream) endOf(ctx context.Context, name string, before ledger.Sequence, until time.Time) (ledger.Sequence, error) {
	if before > 0 {
		return before, nil
	}
	if err := connected(s.j.nc); err != nil {
		return 0, fmt.Errorf("read %s%s: %w", s.kind.subject, name, err)
	}
	last, err := s.stream.GetLastMsgForSubject(ctx, s.kind.subject+name)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("last message of %s%s: %w: %w", s.kind.subject, name, ledger.ErrUnavailable, err)
	case until.IsZero() || last.Time.Before(until): // NATS cannot seek to times after the year 2262
		return ledger.Sequence(last.Sequence) + 1, nil
	}
	for m, err := range s.scan(ctx, name, jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &until}) {
		return m.Sequence, err
	}
	return ledger.Sequence(last.Sequence) + 1, nil
}

var errLongSpan = errors.New("the messages of the span have too many bytes")

// span is the messages of the name with sequences from from on and below end. More than one have at
// most backBytes together, otherwise it fails with errLongSpan.
func (s *AuxStream) span(ctx context.Context, name string, from, end ledger.Sequence) (span []Message, err error) {
	size := 0
	for m, err := range s.Scan(ctx, name, from) {
		switch {
		case err != nil:
			return nil, err
		case m.Sequence >= end:
			return span, nil
		}
		if size += len(m.Record); size > backBytes && end-from > 1 {
			return nil, errLongSpan
		}
		span = append(span, m)
	}
	return span, nil
}
