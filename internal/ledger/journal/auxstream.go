package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

// AuxKind is one of the auxiliary streams.
type AuxKind struct{ stream, subject, what string }

var (
	// Checkpoints holds the signed checkpoints, all with the name "tree".
	Checkpoints = AuxKind{"STELE-CHECKPOINTS", "stele.checkpoints.v1.", "Signed checkpoints"}
	// Reads holds the records of reads, named by their tenant.
	Reads = AuxKind{"STELE-READS", "stele.reads.v1.", "Recorded reads"}

	// auxStreams are the kinds that keep every message.
	auxStreams = []AuxKind{Checkpoints, Reads}
)

// AuxStream is an auxiliary stream: it holds data about commits, with the same
// guarantees as the journal. Its guard stops writes to this stream only. Its messages
// have names, the last token of their subject.
type AuxStream struct {
	stream stream
	j      *Journal
	kind   AuxKind
	// stopped holds the reason once the guard has found a difference.
	stopped atomic.Pointer[error]
}

// OpenAuxStream finds the stream, or creates it: a ledger from before this kind existed
// does not have it. It works until the journal is closed. A caller that remembers its
// content compares that with Last.
func (j *Journal) OpenAuxStream(ctx context.Context, kind AuxKind) (*AuxStream, error) {
	if err := connected(j.nc); err != nil {
		return nil, err
	}
	want := auxConfig(kind, j.replicas, j.epoch)
	s := &AuxStream{stream: stream{want: want}, j: j, kind: kind}
	var err error
	if s.stream.Stream, err = j.auxiliary(ctx, want); err != nil {
		return nil, err
	}
	if err := s.stream.check(s.stream.CachedInfo(), 0); err != nil {
		return nil, err
	}
	j.running.Go(func() { j.guard("nothing more is written to "+want.Name, &s.stopped, &s.stream) })
	return s, nil
}

// auxConfig is the required configuration of an AuxStream.
func auxConfig(kind AuxKind, replicas int, epoch ledger.Epoch) jetstream.StreamConfig {
	return keepAll(kind.stream, kind.subject+"*", kind.what, replicas, epoch)
}

// auxiliary finds a stream other than the journal's, or creates it: unlike the
// journal's, one may be missing from a ledger that is in use.
func (j *Journal) auxiliary(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := j.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return j.create(ctx, want)
	}
	return s, wrapStream(want.Name, err)
}

// Append makes the body durable as the newest message of the name, and returns its
// sequence. The errors are those of Journal.Append.
func (s *AuxStream) Append(ctx context.Context, name string, body []byte) (ledger.Sequence, error) {
	m := nats.NewMsg(s.kind.subject + name)
	m.Data = body
	return s.append(ctx, m)
}

// AppendAfter is Append on the condition that the newest message of the name has the
// sequence expected (0: there is none), otherwise ErrConflict.
func (s *AuxStream) AppendAfter(ctx context.Context, name string, expected ledger.Sequence, body []byte) (ledger.Sequence, error) {
	return s.append(ctx, message(s.kind.subject+name, expected, body))
}

func (s *AuxStream) append(ctx context.Context, m *nats.Msg) (ledger.Sequence, error) {
	if p := s.stopped.Load(); p != nil {
		return 0, *p
	}
	if err := connected(s.j.nc); err != nil {
		return 0, fmt.Errorf("append to %s: %w", m.Subject, err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	seq, err := s.j.publish(ctx, m)
	if err != nil {
		return 0, fmt.Errorf("append to %s: %w", m.Subject, err)
	}
	s.stream.noteSeen(seq)
	return seq, nil
}

// Last asks the leader for the newest message of the name; its sequence is 0
// when there is none.
func (s *AuxStream) Last(ctx context.Context, name string) (seq ledger.Sequence, body []byte, err error) {
	m, err := s.stream.GetLastMsgForSubject(ctx, s.kind.subject+name)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, nil, nil
	case err != nil:
		return 0, nil, fmt.Errorf("last message of %s%s: %w: %w", s.kind.subject, name, ledger.ErrUnavailable, err)
	}
	s.stream.noteSeen(ledger.Sequence(m.Sequence))
	return ledger.Sequence(m.Sequence), m.Data, nil
}

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
