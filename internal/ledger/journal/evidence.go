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
		err = tryLock(lock, true)
	}
	switch {
	case errors.Is(err, errLocked):
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
	return e.read(ctx, streamConfig(1, e.Epoch), func(m jetstream.Msg, seq ledger.Sequence, stored time.Time) error {
		return handle(Message{Sequence: seq, Time: stored, Record: m.Data()})
	})
}

// AuxStream hands over every message of another stream, as Journal does.
func (e *Evidence) AuxStream(ctx context.Context, kind AuxKind, handle func(name string, seq ledger.Sequence, body []byte) error) (ledger.Sequence, error) {
	want := keepAll(kind.stream, kind.subject+"*", kind.what, 1, e.Epoch)
	return e.read(ctx, want, func(m jetstream.Msg, seq ledger.Sequence, _ time.Time) error {
		return handle(strings.TrimPrefix(m.Subject(), kind.subject), seq, m.Data())
	})
}

// silence is how long a message may not come before it is asked for by itself.
const silence = 250 * time.Millisecond

func (e *Evidence) read(ctx context.Context, want jetstream.StreamConfig, handle func(jetstream.Msg, ledger.Sequence, time.Time) error) (ledger.Sequence, error) {
	broken := func(format string, args ...any) error {
		return &EvidenceError{Stream: want.Name, Reason: fmt.Sprintf(format, args...)}
	}
	found, err := e.stream(ctx, want.Name)
	if err != nil {
		return 0, err
	}
	s := stream{Stream: found, want: want}
	info := found.CachedInfo()
	if err := s.check(info, 0); err != nil {
		return 0, broken("%v", err)
	}
	last := info.State.LastSeq
	if last == 0 {
		return 0, nil
	}
	_, messages, err := s.pull(ctx, e.js.Conn(), jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy, InactiveThreshold: time.Minute})
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", want.Name, err)
	}
	defer messages.Stop()
	for seq := uint64(1); seq <= last; {
		m, err := messages.Next(jetstream.NextMaxWait(silence))
		switch {
		case errors.Is(err, nats.ErrTimeout):
			if _, err := s.GetMsg(ctx, seq); err != nil {
				return 0, broken("message %d cannot be read: %v", seq, err)
			}
			continue
		case err != nil:
			return 0, fmt.Errorf("read %s: %w", want.Name, err)
		case ctx.Err() != nil:
			return 0, ctx.Err()
		}
		meta, err := m.Metadata()
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", want.Name, err)
		}
		if meta.Sequence.Stream != seq {
			return 0, broken("after message %d comes %d", seq-1, meta.Sequence.Stream)
		}
		if err := handle(m, ledger.Sequence(seq), meta.Timestamp); err != nil {
			return 0, err
		}
		seq++
	}
	return ledger.Sequence(last), nil
}
