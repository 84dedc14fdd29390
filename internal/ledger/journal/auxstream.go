package journal

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

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

	// auxStreams are the kinds of which every message is kept.
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
	s.stream.saw(seq)
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
	s.stream.saw(ledger.Sequence(m.Sequence))
	return ledger.Sequence(m.Sequence), m.Data, nil
}
