package journal

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/ledger"
)

// SideKind is one of the streams beside the shards.
type SideKind struct{ stream, subject, what string }

var (
	// Checkpoints holds the signed checkpoints, named by their shard.
	Checkpoints = SideKind{"STELE-CHECKPOINTS", "stele.checkpoints.v1.", "Signed checkpoints"}
	// Reads holds the records of reads, named by their tenant.
	Reads = SideKind{"STELE-READS", "stele.reads.v1.", "Recorded reads"}
)

// Side is a stream beside the shards: it holds what is said about commits. It
// promises what the shards do, and its guard stops writes to it alone. Its
// messages have names, the last token of their subject.
type Side struct {
	stream stream
	j      *Journal
	kind   SideKind
	// stopped holds the reason once the guard has found a difference.
	stopped atomic.Pointer[error]
}

// OpenSide finds the stream, or creates it: a ledger that is older than the kind
// has none. It works until the journal is closed. Whoever remembers what was in
// it compares that with Last.
func (j *Journal) OpenSide(ctx context.Context, kind SideKind) (*Side, error) {
	if err := j.connected(); err != nil {
		return nil, err
	}
	want := keepAll(kind.stream, kind.subject+"*", kind.what, j.replicas, j.epoch)
	s := &Side{stream: stream{want: want}, j: j, kind: kind}
	var err error
	if s.stream.Stream, err = j.beside(ctx, want); err != nil {
		return nil, err
	}
	if err := s.stream.check(s.stream.CachedInfo(), 0); err != nil {
		return nil, err
	}
	j.running.Go(func() { j.guard("nothing more is written to "+want.Name, &s.stopped, &s.stream) })
	return s, nil
}

// beside finds a stream that is no shard, or creates it: unlike a shard, one may be
// missing from a ledger that is in use.
func (j *Journal) beside(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := j.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return j.create(ctx, want)
	}
	return s, wrapStream(want.Name, err)
}

// Append makes the body durable as the newest message of the name, and returns
// its sequence. The errors are those of Journal.Append.
func (s *Side) Append(ctx context.Context, name string, body []byte) (ledger.Sequence, error) {
	m := nats.NewMsg(s.kind.subject + name)
	m.Data = body
	return s.append(ctx, m)
}

// AppendAfter is Append on the condition that the newest message of the name has
// the sequence expected (0: there is none), else ErrConflict.
func (s *Side) AppendAfter(ctx context.Context, name string, expected ledger.Sequence, body []byte) (ledger.Sequence, error) {
	e := entry{subject: s.kind.subject + name, expected: expected, record: body}
	return s.append(ctx, e.message())
}

func (s *Side) append(ctx context.Context, m *nats.Msg) (ledger.Sequence, error) {
	if p := s.stopped.Load(); p != nil {
		return 0, *p
	}
	if err := s.j.connected(); err != nil {
		return 0, fmt.Errorf("append to %s: %w", m.Subject, err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	a, err := request(ctx, s.j.nc, m)
	if err != nil {
		return 0, fmt.Errorf("append to %s: %w", m.Subject, err)
	}
	seq := ledger.Sequence(a.Seq)
	s.stream.saw(seq)
	return seq, nil
}

// Last asks the leader for the newest message of the name; its sequence is 0
// when there is none.
func (s *Side) Last(ctx context.Context, name string) (seq ledger.Sequence, body []byte, err error) {
	m, err := s.stream.GetLastMsgForSubject(ctx, s.kind.subject+name)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, nil, nil
	case err != nil:
		return 0, nil, fmt.Errorf("last message of %s%s: %w: %w", s.kind.subject, name, ledger.ErrUnavailable, err)
	}
	s.stream.saw(ledger.Sequence(m.Sequence))
	return ledger.Sequence(m.Sequence), m.Data, nil
}
