package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server/archive"
	"github.com/stelehq/stele/internal/ledger"
)

// BackupReader reads the messages of a backup from its files.
//
// nats-server leaves a message that it cannot read out of a snapshot, and reports
// success. So a reader of a stream that keeps everything checks that no sequence is
// missing. Faults of a stream are an *EvidenceError.
type BackupReader struct {
	// Epoch is the ledger's identity.
	Epoch ledger.Epoch

	dir     string
	streams map[string]*BackedUp
}

func newBackupReader(dir string, b *Backup) (*BackupReader, error) {
	epoch, err := ledger.ParseEpoch(b.Ledger)
	if err != nil {
		return nil, fmt.Errorf("stream %s does not belong to a ledger: %w", streamName, err)
	}
	r := &BackupReader{Epoch: epoch, dir: dir, streams: make(map[string]*BackedUp)}
	for i := range b.Streams {
		r.streams[b.Streams[i].Name] = &b.Streams[i]
	}
	return r, nil
}

// Journal passes every message, from the first to the last, to the callback, and
// returns the last one's sequence.
func (r *BackupReader) Journal(ctx context.Context, handle func(Message) error) (ledger.Sequence, error) {
	return r.readAll(ctx, streamName, func(_ string, m Message) error { return handle(m) })
}

// AuxStream passes every message of another stream to the callback, as Journal does.
func (r *BackupReader) AuxStream(ctx context.Context, kind AuxKind, handle func(name string, seq ledger.Sequence, body []byte) error) (ledger.Sequence, error) {
	return r.readAll(ctx, kind.stream, func(subject string, m Message) error {
		return handle(strings.TrimPrefix(subject, kind.subject), m.Sequence, m.Record)
	})
}

// readAll reads a stream that keeps everything.
func (r *BackupReader) readAll(ctx context.Context, stream string, handle func(subject string, m Message) error) (last ledger.Sequence, err error) {
	s := r.streams[stream]
	if s == nil {
		return 0, &EvidenceError{Stream: stream, Reason: "it is missing", Missing: true}
	}
	missing := func(from, to ledger.Sequence) error {
		return &EvidenceError{Stream: stream, Reason: fmt.Sprintf("%s cannot be read: the server left out what it cannot read", sequences(from, to))}
	}
	err = s.read(ctx, r.dir, func(subject string, m Message) error {
		if m.Sequence != last+1 {
			return missing(last+1, m.Sequence-1)
		}
		last = m.Sequence
		return handle(subject, m)
	})
	if err == nil && last < s.Last {
		err = missing(last+1, s.Last)
	}
	return last, err
}

// sequences names one message, or several that follow each other.
func sequences(from, to ledger.Sequence) string {
	if from == to {
		return fmt.Sprintf("message %d", from)
	}
	return fmt.Sprintf("messages %d to %d", from, to)
}

// read passes the messages in the stream's file to the callback, and checks the file's
// hash.
func (s *BackedUp) read(ctx context.Context, dir string, handle func(subject string, m Message) error) error {
	f, err := os.Open(filepath.Join(dir, s.File))
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	raw := io.TeeReader(f, sum)
	if err := readSnapshot(ctx, raw, handle); err != nil {
		return fmt.Errorf("%s: %w", s.File, err)
	}
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != s.SHA256 {
		return &EvidenceError{Stream: s.Name, Reason: s.File + " is not what was written: the disk of the backup is damaged"}
	}
	return nil
}

// readSnapshot reads the messages of a stream as nats-server 2.15 hands it out: the
// state, and the messages, and an entry without a name, which marks the end.
func readSnapshot(ctx context.Context, from io.Reader, handle func(subject string, m Message) error) error {
	r := archive.NewReader(s2.NewReader(from))
	for first := true; ; first = false {
		h, err := r.Next()
		switch {
		case first && (errors.Is(err, archive.ErrInvalidArchive) || errors.Is(err, io.EOF)):
			return errors.New("it does not have the format of nats-server 2.15 or later, and cannot be verified: upgrade the server")
		case errors.Is(err, io.EOF):
			return errors.New("it has no end: the server broke off")
		case err != nil:
			return err
		case first:
			continue // the state
		case h.Name == "":
			return ctx.Err()
		}
		var body bytes.Buffer
		if _, err := body.ReadFrom(r); err != nil {
			return err
		}
		m := Message{Sequence: ledger.Sequence(h.Sequence), Time: time.Unix(0, h.Timestamp).UTC(), Record: body.Bytes()[h.HeaderSize:]}
		if err := handle(h.Name, m); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}
