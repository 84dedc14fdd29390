package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger"
)

const (
	// answerTimeout is how long a request may wait for the server.
	answerTimeout = 5 * time.Second
	// appendTimeout is how long one try to append may wait for it. It is short because a
	// leader that has failed does not answer, and the caller may try again at once.
	appendTimeout = time.Second
)

// Append makes the record durable as the journal's next message, if its last one has
// the sequence expected (0: it is empty), and returns the new sequence, which is
// expected+1. It waits for the acknowledgment until ctx ends, at most a second.
//
// ErrConflict: the last message is another, or one is in flight. ledger.ErrReadOnly:
// the guard has stopped writes. ledger.ErrUnavailable: certainly not written.
// ledger.ErrUnknownOutcome: it may or may not be written.
func (j *Journal) Append(ctx context.Context, expected ledger.Sequence, record []byte) (ledger.Sequence, error) {
	seq, err := j.append(ctx, expected, record)
	if err != nil {
		return 0, fmt.Errorf("append after message %d: %w", expected, err)
	}
	return seq, nil
}

func (j *Journal) append(ctx context.Context, expected ledger.Sequence, record []byte) (ledger.Sequence, error) {
	if err := j.Guard(); err != nil {
		return 0, err
	}
	if len(record) > j.MaxRecord() {
		return 0, fmt.Errorf("record has %d bytes, more than %d", len(record), j.MaxRecord())
	}
	if j.ctx.Err() != nil { // the guard watches no longer
		return 0, fmt.Errorf("%w: the journal is closed", ledger.ErrUnavailable)
	}
	if err := connected(j.nc); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
	}
	began := time.Now()
	try, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	seq, err := j.send(try, message(subject, expected, record))
	if !errors.Is(err, errInFlight) { // which an isolated leader answers as well: it keeps what it could not store
		j.connection.answered(&j.connection.writes, began, err == nil || errors.Is(err, ErrConflict))
	}
	if try.Err() != nil && err != nil {
		j.connection.leaveSilent(ctx)
	}
	if err != nil {
		return 0, err
	}
	j.stream.noteSeen(seq)
	return seq, nil
}

// connected keeps a message from waiting for a connection that may recover long
// after its sender has given up.
func connected(nc *nats.Conn) error {
	if status := nc.Status(); status != nats.CONNECTED {
		return fmt.Errorf("%w: connection is %s", ledger.ErrUnavailable, status)
	}
	return nil
}
