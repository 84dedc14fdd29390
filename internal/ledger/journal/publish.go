package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger"
)

// headerExpected is the header of JetStream that makes a publish conditional.
const headerExpected = "Nats-Expected-Last-Subject-Sequence"

// message is one that is only stored if its subject's last message has the sequence
// expected.
func message(subject string, expected ledger.Sequence, body []byte) *nats.Msg {
	m := nats.NewMsg(subject)
	m.Header[headerExpected] = []string{strconv.FormatUint(uint64(expected), 10)}
	m.Data = body
	return m
}

// answer is JetStream's to a publish.
type answer struct {
	Stream string `json:"stream"`
	Seq    uint64 `json:"seq"`
	Error  *struct {
		Code        int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

// publish sends one message and returns its sequence once it is durable. An error
// wraps ErrConflict, ledger.ErrNoSpace or ledger.ErrUnavailable only if certainly nothing
// was written; everything else is ledger.ErrUnknownOutcome.
func (j *Journal) publish(ctx context.Context, m *nats.Msg) (ledger.Sequence, error) {
	if err := j.space(); err != nil {
		return 0, err
	}
	return j.send(ctx, m)
}

// send is publish for a caller that has looked at the space.
func (j *Journal) send(ctx context.Context, m *nats.Msg) (ledger.Sequence, error) {
	reply, err := j.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return 0, sendError(err)
	}
	var a answer
	if err := json.Unmarshal(reply.Data, &a); err != nil {
		return 0, fmt.Errorf("%w: answer %q: %w", ledger.ErrUnknownOutcome, reply.Data, err)
	}
	if a.Error != nil {
		return 0, fmt.Errorf("%w: %s (%d)", refusal(a.Error.Code), a.Error.Description, a.Error.Code)
	}
	if a.Stream == "" || a.Seq == 0 {
		return 0, fmt.Errorf("%w: answer %q", ledger.ErrUnknownOutcome, reply.Data)
	}
	return ledger.Sequence(a.Seq), nil
}

// sendError classifies a publish without an acknowledgment. The listed errors occur
// before the first byte is sent, or state that no server received it.
func sendError(err error) error {
	for _, unsent := range []error{
		nats.ErrNoResponders, nats.ErrConnectionDraining, nats.ErrReconnectBufExceeded, nats.ErrMaxPayload,
		nats.ErrHeadersNotSupported, nats.ErrBadSubject, nats.ErrInvalidConnection,
	} {
		if errors.Is(err, unsent) {
			return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
		}
	}
	// err is not wrapped, because the deadline is this package's: callers answer a deadline of
	// their own callers with another code.
	return fmt.Errorf("%w: %s", ledger.ErrUnknownOutcome, err.Error())
}

// errInFlight is a conflict with a message of the subject that is not stored yet.
var errInFlight = fmt.Errorf("%w (its message is not stored yet)", ErrConflict)

// refusal translates an error code of JetStream. The listed codes mean that nothing was
// stored.
func refusal(code int) error {
	switch code {
	case 10071: // another last sequence
		return ErrConflict
	case 10164:
		return errInFlight
	case 10163, // the guard cannot be checked yet
		10008, // the cluster has no leader
		10009, // not the leader
		10039, // JetStream is not enabled for the account
		10076, // JetStream is not enabled
		10109: // sealed
		return ledger.ErrUnavailable
	}
	return ledger.ErrUnknownOutcome
}
