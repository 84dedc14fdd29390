package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/stelehq/stele/ledger"
)

// Headers of JetStream.
const (
	headerExpected    = "Nats-Expected-Last-Subject-Sequence"
	headerBatch       = "Nats-Batch-Id"
	headerBatchNumber = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

// errRefused: the server takes nothing of a batch; its records may be tried one
// by one.
var errRefused = errors.New("batch refused")

// entry is one record on its way.
type entry struct {
	subject  string
	expected ledger.Sequence
	record   []byte

	// outcome gets the one answer; it has room for it, so nobody waits to give it.
	outcome chan outcome
	// taken by a round, so that it may have been written; guarded by appender.mu.
	taken bool
}

type outcome struct {
	seq ledger.Sequence
	err error
}

func (e *entry) message() *nats.Msg {
	m := nats.NewMsg(e.subject)
	m.Header[headerExpected] = []string{strconv.FormatUint(uint64(e.expected), 10)}
	m.Data = e.record
	return m
}

// publish writes one record and waits until it is durable.
func (j *Journal) publish(ctx context.Context, e *entry) (ledger.Sequence, error) {
	a, err := request(ctx, j.nc, e.message())
	if err != nil {
		return 0, err
	}
	return ledger.Sequence(a.Seq), nil
}

// publishBatch writes all records or none, and returns the first one's
// sequence; the others follow without a gap. Only the last message asks for an
// answer: what was wrong with one before it comes with that.
func (j *Journal) publishBatch(ctx context.Context, entries []*entry) (ledger.Sequence, error) {
	id := nuid.Next()
	for i, e := range entries {
		m := e.message()
		m.Header[headerBatch] = []string{id}
		m.Header[headerBatchNumber] = []string{strconv.Itoa(i + 1)}
		if i < len(entries)-1 {
			if err := j.nc.PublishMsg(m); err != nil {
				// Without the commit the server drops what it has.
				return 0, fmt.Errorf("%w: %w", errRefused, err)
			}
			continue
		}
		m.Header[headerBatchCommit] = []string{"1"}
		a, err := request(ctx, j.nc, m)
		if err != nil {
			return 0, err
		}
		if a.Count != len(entries) {
			return 0, fmt.Errorf("%w: the answer to a batch of %d counts %d", ledger.ErrUnknownOutcome, len(entries), a.Count)
		}
		return ledger.Sequence(a.Seq) - ledger.Sequence(len(entries)) + 1, nil
	}
	panic("journal: empty batch")
}

// answer is JetStream's to a publish.
type answer struct {
	Stream string `json:"stream"`
	Seq    uint64 `json:"seq"`
	Count  int    `json:"count"`
	Error  *struct {
		Code        int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

// request sends one message and reads the answer. An error wraps ErrConflict,
// errRefused or ledger.ErrUnavailable only when surely nothing was written;
// everything else is ledger.ErrUnknownOutcome.
func request(ctx context.Context, nc *nats.Conn, m *nats.Msg) (answer, error) {
	reply, err := nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return answer{}, sendError(err)
	}
	var a answer
	if err := json.Unmarshal(reply.Data, &a); err != nil {
		return a, fmt.Errorf("%w: answer %q: %w", ledger.ErrUnknownOutcome, reply.Data, err)
	}
	if a.Error != nil {
		return a, fmt.Errorf("%w: %s (%d)", refusal(a.Error.Code), a.Error.Description, a.Error.Code)
	}
	if a.Stream == "" || a.Seq == 0 {
		return a, fmt.Errorf("%w: answer %q", ledger.ErrUnknownOutcome, reply.Data)
	}
	return a, nil
}

// sendError is for a message without an answer. The listed errors come before
// the first byte is sent, or say that nobody got it.
func sendError(err error) error {
	for _, unsent := range []error{
		nats.ErrNoResponders, nats.ErrConnectionDraining, nats.ErrReconnectBufExceeded, nats.ErrMaxPayload,
		nats.ErrHeadersNotSupported, nats.ErrBadSubject, nats.ErrInvalidConnection,
	} {
		if errors.Is(err, unsent) {
			return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
		}
	}
	return fmt.Errorf("%w: %w", ledger.ErrUnknownOutcome, err)
}

// refusal says what an error code of JetStream means for the record. The listed
// ones are given before anything is stored.
func refusal(code int) error {
	switch code {
	case 10071, // another last sequence
		10164: // a message of the subject is in flight
		return ErrConflict
	case 10163, // the guard cannot be checked yet
		10008, // the cluster has no leader
		10009, // not the leader
		10039, // JetStream is not enabled for the account
		10076, // JetStream is not enabled
		10109: // sealed
		return ledger.ErrUnavailable
	case 10174, // batches are off
		10176, // incomplete
		10199, // too many messages
		10210: // too many batches are open
		return errRefused
	}
	return ledger.ErrUnknownOutcome
}
