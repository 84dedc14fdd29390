package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/ledger"
)

// LastOf asks the stream's leader for the sequence of the tenant's newest
// message, 0 when it has none.
func (j *Journal) LastOf(ctx context.Context, t ledger.Tenant) (ledger.Sequence, error) {
	s := j.shards[j.Shard(t)]
	m, err := s.GetLastMsgForSubject(ctx, subject(s.n, t))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("last message of %s: %w: %w", t, ledger.ErrUnavailable, err)
	}
	seq := ledger.Sequence(m.Sequence)
	s.saw(seq)
	return seq, nil
}

// Last asks the leader for the shard's last sequence, 0 when it is empty.
func (j *Journal) Last(ctx context.Context, shard int) (ledger.Sequence, error) {
	s := j.shards[shard]
	info, err := s.Info(ctx)
	if err == nil && leaderless(info) {
		err = errors.New("it has no leader")
	}
	if err != nil {
		return 0, fmt.Errorf("last sequence of %s: %w: %w", streamName(shard), ledger.ErrUnavailable, err)
	}
	return ledger.Sequence(info.State.LastSeq), nil
}

// leaderless says whether the answer is that of a member that knows no leader
// and tells what it has itself, which may be less than what was acknowledged.
func leaderless(info *jetstream.StreamInfo) bool {
	return info.Config.Replicas > 1 && (info.Cluster == nil || info.Cluster.Leader == "")
}

// Read asks the leader for one message; ErrNoMessage when it is not there.
func (j *Journal) Read(ctx context.Context, shard int, seq ledger.Sequence) (Message, error) {
	m, err := j.shards[shard].GetMsg(ctx, uint64(seq))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Message{}, fmt.Errorf("read %s/%d: %w", streamName(shard), seq, ErrNoMessage)
	case err != nil:
		return Message{}, fmt.Errorf("read %s/%d: %w: %w", streamName(shard), seq, ledger.ErrUnavailable, err)
	}
	t, err := tenantOf(m.Subject)
	if err != nil {
		return Message{}, fmt.Errorf("read %s/%d: %w", streamName(shard), seq, err)
	}
	return Message{Shard: shard, Tenant: t, Sequence: seq, Time: m.Time, Record: m.Data}, nil
}
