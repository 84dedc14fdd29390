package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

// askTimeout is how long one question to the leader may take. It is short because a leader
// that has failed does not answer, and the caller asks again.
const askTimeout = 2 * time.Second

// Last asks the leader for the journal's last sequence, 0 if it is empty. It waits for the
// answer until ctx ends, at most two seconds.
func (j *Journal) Last(ctx context.Context) (ledger.Sequence, error) {
	began := time.Now()
	try, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := j.stream.Info(try)
	switch {
	case err != nil:
	case leaderless(info):
		err = errors.New("it has no leader")
	case isolated(info):
		err = fmt.Errorf("its leader %s does not hear from a majority of its servers", info.Cluster.Leader)
		j.connection.leaveIsolated(info.Cluster.Leader)
	}
	if ctx.Err() == nil || errors.Is(err, context.DeadlineExceeded) {
		j.connection.answered(&j.connection.reads, began, err == nil)
	}
	if err != nil {
		return 0, fmt.Errorf("last sequence of %s: %w: %w", streamName, ledger.ErrUnavailable, err)
	}
	j.clock.observe(info)
	return ledger.Sequence(info.State.LastSeq), nil
}

// leaderless reports whether the answer comes from a member that knows no leader and
// reports its own state, which may be less than what was acknowledged.
func leaderless(info *jetstream.StreamInfo) bool {
	return info.Config.Replicas > 1 && (info.Cluster == nil || info.Cluster.Leader == "")
}

// Read asks the leader for one message; ErrNoMessage if it does not exist.
func (j *Journal) Read(ctx context.Context, seq ledger.Sequence) (Message, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	m, err := j.stream.GetMsg(ctx, uint64(seq))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Message{}, fmt.Errorf("read message %d of %s: %w", seq, streamName, ErrNoMessage)
	case err != nil:
		return Message{}, fmt.Errorf("read message %d of %s: %w: %w", seq, streamName, ledger.ErrUnavailable, err)
	}
	return Message{Sequence: seq, Time: m.Time, Record: m.Data}, nil
}
