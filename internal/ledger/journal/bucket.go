package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

var (
	// Sinks holds the lease and the positions of each sink.
	Sinks = AuxKind{"STELE-SINKS", "stele.sinks.v1.", "Leases and positions of the sinks"}
	// Parked holds the dead letters: keys that a sink does not accept.
	Parked = AuxKind{"STELE-PARKED", "stele.parked.v1.", "Keys that sinks have rejected"}
	// Keys holds the encrypted keys of secrets, named by their tenant.
	Keys = AuxKind{"STELE-KEYS", "stele.keys.v1.", "Encrypted keys of tenants' secrets"}

	// buckets are the kinds that keep the newest message of each name.
	buckets = []AuxKind{Sinks, Parked, Keys}
)

// Bucket is an auxiliary stream that keeps the newest message of each name: state that
// processes share, and that survives restarts. It is not part of the history. Names may
// have several tokens, a.b.c.
type Bucket struct {
	stream stream
	j      *Journal
	kind   AuxKind
	// stopped holds the reason once the guard has found a difference.
	stopped atomic.Pointer[error]
}

// Entry is one of the messages.
type Entry struct {
	Name     string
	Sequence ledger.Sequence
	Body     []byte
}

// OpenBucket finds the stream, or creates it. It works until the journal is closed, and takes
// no more messages once the guard has found changed settings, which could remove them.
func (j *Journal) OpenBucket(ctx context.Context, kind AuxKind) (*Bucket, error) {
	if err := connected(j.nc); err != nil {
		return nil, err
	}
	want := bucketConfig(kind, j.replicas, j.epoch)
	n := &Bucket{stream: stream{want: want}, j: j, kind: kind}
	var err error
	if n.stream.Stream, err = j.auxiliary(ctx, want); err != nil {
		return nil, err
	}
	if got := n.stream.CachedInfo().Config.Metadata[metaEpoch]; got != want.Metadata[metaEpoch] {
		return nil, fmt.Errorf("%s is of the ledger %s: delete it to begin with this one's", want.Name, got)
	}
	if err := n.stream.check(n.stream.CachedInfo(), 0); err != nil {
		return nil, err
	}
	j.running.Go(func() { j.guard("nothing more is written to "+want.Name, &n.stopped, &n.stream) })
	return n, nil
}

// bucketConfig is the configuration of a Bucket.
func bucketConfig(kind AuxKind, replicas int, epoch ledger.Epoch) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              kind.stream,
		Description:       kind.what + " of a Stele ledger.",
		Subjects:          []string{kind.subject + ">"},
		MaxConsumers:      -1,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgsPerSubject: 1,
		MaxMsgSize:        -1,
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		Metadata:          map[string]string{metaEpoch: epoch.String()},
	}
}

// CreateAuxStreams creates the auxiliary streams that are missing, so that no other process
// needs the permission to create streams.
func (j *Journal) CreateAuxStreams(ctx context.Context) error {
	for _, kind := range auxStreams {
		if _, err := j.OpenAuxStream(ctx, kind); err != nil {
			return err
		}
	}
	for _, kind := range buckets {
		if _, err := j.OpenBucket(ctx, kind); err != nil {
			return err
		}
	}
	return nil
}

// Put makes the body durable as the newest message of the name, on the condition that
// the newest one has the sequence expected (0: it does not exist), otherwise
// ErrConflict. The errors are those of Journal.Append.
func (n *Bucket) Put(ctx context.Context, name string, expected ledger.Sequence, body []byte) (ledger.Sequence, error) {
	if p := n.stopped.Load(); p != nil {
		return 0, *p
	}
	if err := connected(n.j.nc); err != nil {
		return 0, fmt.Errorf("put %s%s: %w", n.kind.subject, name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	seq, err := n.j.publish(ctx, message(n.kind.subject+name, expected, body))
	if err != nil {
		return 0, fmt.Errorf("put %s%s: %w", n.kind.subject, name, err)
	}
	return seq, nil
}

// Get asks the leader for the newest message of the name; its sequence is 0 when
// there is none.
func (n *Bucket) Get(ctx context.Context, name string) (Entry, error) {
	m, err := n.stream.GetLastMsgForSubject(ctx, n.kind.subject+name)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Entry{Name: name}, nil
	case err != nil:
		return Entry{}, fmt.Errorf("get %s%s: %w: %w", n.kind.subject, name, ledger.ErrUnavailable, err)
	}
	return Entry{name, ledger.Sequence(m.Sequence), m.Data}, nil
}

// Remove takes a message out; it may be gone already.
func (n *Bucket) Remove(ctx context.Context, seq ledger.Sequence) error {
	return n.without(ctx, seq, n.stream.DeleteMsg)
}

// Erase is Remove, and the servers also overwrite the stored message.
func (n *Bucket) Erase(ctx context.Context, seq ledger.Sequence) error {
	return n.without(ctx, seq, n.stream.SecureDeleteMsg)
}

func (n *Bucket) without(ctx context.Context, seq ledger.Sequence, remove func(context.Context, uint64) error) error {
	err := remove(ctx, uint64(seq))
	if err != nil { // the server has no code for what is gone
		if _, gone := n.stream.GetMsg(ctx, uint64(seq)); errors.Is(gone, jetstream.ErrMsgNotFound) {
			return nil
		}
		return fmt.Errorf("remove %s/%d: %w: %w", n.kind.stream, seq, ledger.ErrUnavailable, err)
	}
	return nil
}

// All yields the messages whose names begin with the tokens of prefix, "" for all, in the
// order in which they were put. An error is ledger.ErrUnavailable, and the last that it
// yields.
func (n *Bucket) All(ctx context.Context, prefix string) iter.Seq2[Entry, error] {
	subject := n.kind.subject
	if prefix != "" {
		subject += prefix + "."
	}
	cfg := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, FilterSubject: subject + ">"}
	return func(yield func(Entry, error) bool) {
		if err := connected(n.j.nc); err != nil {
			yield(Entry{}, fmt.Errorf("read %s: %w", n.kind.stream, err))
			return
		}
		for d, err := range n.stream.current(ctx, n.j.nc, cfg) {
			if err != nil {
				yield(Entry{}, fmt.Errorf("read %s: %w: %w", n.kind.stream, ledger.ErrUnavailable, err))
				return
			}
			if !yield(Entry{strings.TrimPrefix(d.subject, n.kind.subject), d.Sequence, d.Record}, nil) {
				return
			}
		}
	}
}
