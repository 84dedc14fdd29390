package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal/internal/host"
)

// CopyStopped copies the folder of an embedded server that is not running, so that a
// server can be started on the copy: JetStream repairs damage, and so destroys
// evidence. Its index files are left out: they are caches, and without them the server
// reads every message. Folders whose names begin with a dot are left out as well: they
// are deleted streams, which JetStream ignores and may still be removing.
func CopyStopped(from, to string) error {
	lock, err := os.Open(filepath.Join(from, "stele.lock"))
	if err == nil {
		defer lock.Close()
		err = host.TryLock(lock, true)
	}
	switch {
	case errors.Is(err, host.ErrLocked):
		return fmt.Errorf("%s is in use: stop the ledger first", from)
	case err != nil:
		return fmt.Errorf("%s is not the folder of a journal: %w", from, err)
	}
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && path != from && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir // before err: WalkDir may have failed to read it
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case !d.Type().IsRegular(), d.Name() == "index.db", path == lock.Name():
			return nil
		}
		return copyFile(path, filepath.Join(to, rel))
	})
	if err != nil {
		return fmt.Errorf("copy the journal: %w", err)
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// EvidenceError is a stream that differs from the requirements.
type EvidenceError struct {
	Stream string
	Reason string
	// Missing says that it is not there.
	Missing bool
}

func (e *EvidenceError) Error() string { return e.Stream + ": " + e.Reason }

// Evidence reads a journal for an audit: it creates nothing, trusts nothing, and
// reports everything that is missing.
type Evidence struct {
	Epoch ledger.Epoch

	js jetstream.JetStream
}

// OpenEvidence reads the ledger's identity. Faults of the streams are an
// *EvidenceError.
func OpenEvidence(ctx context.Context, nc *nats.Conn) (*Evidence, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	e := &Evidence{js: js}
	found, err := e.stream(ctx, streamName)
	if err != nil {
		return nil, err
	}
	epoch := found.CachedInfo().Config.Metadata[metaEpoch]
	if e.Epoch, err = ledger.ParseEpoch(epoch); err != nil {
		return nil, &EvidenceError{Stream: streamName, Reason: fmt.Sprintf("its metadata do not belong to a ledger: epoch %q", epoch)}
	}
	return e, nil
}

func (e *Evidence) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := e.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, &EvidenceError{Stream: name, Reason: "it is missing", Missing: true}
	}
	return s, wrapStream(name, err)
}

// Journal passes every message, from the first to the last, to the callback, and
// returns the last one's sequence. A stream that differs from the requirements is an
// *EvidenceError.
func (e *Evidence) Journal(ctx context.Context, handle func(Message) error) (ledger.Sequence, error) {
	return e.read(ctx, streamConfig(1, e.Epoch), func(_ string, m Message) error { return handle(m) })
}

// AuxStream hands over every message of another stream, as Journal does.
func (e *Evidence) AuxStream(ctx context.Context, kind AuxKind, handle func(name string, seq ledger.Sequence, body []byte) error) (ledger.Sequence, error) {
	want := auxConfig(kind, 1, e.Epoch)
	return e.read(ctx, want, func(subject string, m Message) error {
		return handle(strings.TrimPrefix(subject, kind.subject), m.Sequence, m.Record)
	})
}

// silence is how long to wait for a message before it is requested by itself.
const silence = 250 * time.Millisecond

// evidenceTries is how often in a row a message that does not arrive is requested, while
// the server does not say whether it has it.
const evidenceTries = 10

// read hands over every message of a stream, from the first to the last.
//
// A delivery can get lost: with a connection, or because the reader is slow. So a message
// that does not come next is asked for by itself, and is missing only if the server answers
// that it does not have it.
func (e *Evidence) read(ctx context.Context, want jetstream.StreamConfig, handle func(subject string, m Message) error) (ledger.Sequence, error) {
	broken := func(format string, args ...any) error {
		return &EvidenceError{Stream: want.Name, Reason: fmt.Sprintf(format, args...)}
	}
	found, err := e.stream(ctx, want.Name)
	if err != nil {
		return 0, err
	}
	s := &stream{Stream: found, want: want}
	info := found.CachedInfo()
	if err := s.check(info, 0); err != nil {
		return 0, broken("%v", err)
	}
	end := ledger.Sequence(info.State.LastSeq)
	for last := ledger.Sequence(0); last < end; {
		var lost *lostError
		switch err := e.readAfter(ctx, s, &last, end, handle); {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case err == nil:
			return end, nil
		case !errors.As(err, &lost):
			return 0, err
		}
		m, err := s.fetch(ctx, last+1)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return 0, broken("message %d cannot be read: %v", last+1, err)
		case err != nil:
			return 0, fmt.Errorf("read message %d of %s: %w", last+1, want.Name, err)
		}
		last++
		if err := handle(m.Subject, Message{Sequence: last, Time: m.Time, Record: m.Data}); err != nil {
			return 0, err
		}
	}
	return end, nil
}

// readAfter reads with one consumer what comes after last, up to end. A *lostError says
// that the next message did not come.
func (e *Evidence) readAfter(ctx context.Context, s *stream, last *ledger.Sequence, end ledger.Sequence, handle func(subject string, m Message) error) error {
	_, messages, err := s.pull(ctx, e.js.Conn(), jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: uint64(*last) + 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return &lostError{err}
	}
	defer messages.Stop()
	for *last < end {
		m, err := messages.Next(jetstream.NextMaxWait(silence))
		if err != nil {
			return &lostError{err}
		}
		meta, err := m.Metadata()
		if err != nil {
			return &lostError{err}
		}
		seq := ledger.Sequence(meta.Sequence.Stream)
		if seq != *last+1 {
			return &lostError{fmt.Errorf("after message %d comes %d", *last, seq)}
		}
		if err := handle(m.Subject(), Message{Sequence: seq, Time: meta.Timestamp, Record: m.Data()}); err != nil {
			return err
		}
		*last = seq
	}
	return nil
}

// fetch asks for one message, and asks again while the server does not answer. The error is
// jetstream.ErrMsgNotFound if the server does not have the message, or cannot read it.
func (s *stream) fetch(ctx context.Context, seq ledger.Sequence) (m *jetstream.RawStreamMsg, err error) {
	for range evidenceTries {
		asked, cancel := context.WithTimeout(ctx, answerTimeout)
		m, err = s.GetMsg(asked, uint64(seq))
		cancel()
		if err == nil || errors.Is(err, jetstream.ErrMsgNotFound) {
			return m, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(silence):
		}
	}
	return nil, err
}
