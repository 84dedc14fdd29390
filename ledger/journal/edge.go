package journal

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/ledger"
)

// Edge is the journal for a process that may read some tenants only, and whose
// rights the NATS servers check. Whoever set the ledger up has made consumers for
// it, one a shard that holds one of its tenants, with a name that it alone uses.
// They deliver these tenants' messages. It may ask them for messages, for how far
// they are, and to begin again elsewhere, and nothing else: a right to make
// consumers, or to read a message by its number, cannot be confined to tenants.
type Edge struct {
	nc   *nats.Conn
	js   jetstream.JetStream
	name string

	epoch  ledger.Epoch
	shards int

	mu     sync.Mutex // guards handed
	handed map[int]handed
}

// handed is what the follower of a shard has handled since its consumer began.
type handed struct {
	count uint64
	last  ledger.Sequence
}

// notYet is how long a message that was seen may be missing where a server that
// has just taken the consumer over has not got it yet.
const notYet = 20 * time.Second

var edgeNames = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// CheckEdgeName says what is wrong with an edge's name.
func CheckEdgeName(name string) error {
	if !edgeNames.MatchString(name) {
		return fmt.Errorf("%q is no edge's name: use 1 to 63 of a-z 0-9 -, the first not a -", name)
	}
	return nil
}

// edgeShards are the shards of n in which an edge has a consumer, with the subjects
// that it delivers: those of its tenants, and of the ledger's own, whose policies
// every gateway goes by. The first shard is always one of them: its consumer tells the
// ledger's identity, and where none of the tenants is in it, nothing else.
func edgeShards(tenants []ledger.Tenant, n int) map[int][]string {
	subjects := map[int][]string{}
	for _, t := range slices.Compact(slices.Sorted(slices.Values(append([]ledger.Tenant{ledger.System}, tenants...)))) {
		s := ShardOf(t, n)
		subjects[s] = append(subjects[s], subject(s, t))
	}
	if subjects[0] == nil {
		subjects[0] = []string{subject(0, "-")}
	}
	return subjects
}

// MakeEdge makes the consumers of an edge, or has those that it has deliver the
// given tenants.
func (j *Journal) MakeEdge(ctx context.Context, name string, tenants []ledger.Tenant) error {
	if err := CheckEdgeName(name); err != nil {
		return err
	}
	subjects := edgeShards(tenants, len(j.shards))
	for _, s := range j.shards {
		if subjects[s.n] == nil {
			err := s.DeleteConsumer(ctx, name)
			if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				return fmt.Errorf("remove the consumer %s of %s: %w", name, streamName(s.n), err)
			}
			continue
		}
		_, err := s.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable:        name,
			Description:    "For an edge gateway",
			DeliverPolicy:  jetstream.DeliverAllPolicy, // it may begin anywhere
			FilterSubjects: subjects[s.n],
			AckPolicy:      jetstream.AckNonePolicy,
			Metadata:       map[string]string{metaEpoch: j.epoch.String(), metaShards: strconv.Itoa(len(j.shards))},
		})
		if err != nil {
			return fmt.Errorf("make the consumer %s of %s: %w", name, streamName(s.n), err)
		}
	}
	return nil
}

// OpenEdge finds the edge's consumers.
func OpenEdge(ctx context.Context, nc *nats.Conn, name string) (*Edge, error) {
	if err := CheckEdgeName(name); err != nil {
		return nil, err
	}
	js, err := jetstream.NewWithAPIPrefix(nc, edgeAPI)
	if err != nil {
		return nil, err
	}
	e := &Edge{nc: nc, js: js, name: name, handed: map[int]handed{}}
	info, err := e.info(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	meta := info.Config.Metadata
	e.epoch, err = ledger.ParseEpoch(meta[metaEpoch])
	e.shards, _ = strconv.Atoi(meta[metaShards])
	if err != nil || e.shards < 1 || e.shards > maxShards {
		return nil, fmt.Errorf("the consumer %s of %s was not made for an edge: run stele nats-install --edge", name, streamName(0))
	}
	return e, nil
}

func (e *Edge) info(ctx context.Context, shard int) (*jetstream.ConsumerInfo, error) {
	c, err := e.js.Consumer(ctx, streamName(shard), e.name)
	if err != nil {
		return nil, fmt.Errorf("consumer %s of %s: %w", e.name, streamName(shard), err)
	}
	return c.CachedInfo(), nil
}

// Epoch is the ledger's identity, as whoever made the consumers has noted it.
func (e *Edge) Epoch() ledger.Epoch { return e.epoch }

// Shards is the number of the ledger's streams.
func (e *Edge) Shards() int { return e.shards }

// Last is not known to an edge, which may not ask for it: no shard ends before what
// was seen, as far as that goes, and Read says whether that is still there.
func (e *Edge) Last(context.Context, int) (ledger.Sequence, error) { return math.MaxUint64, nil }

// LastOf is the sequence of the last message of the tenant's shard that is one of
// the edge's, and an error while it has not been handled yet. It is what the server
// with the consumer says, which may be behind the stream's leader by what is on its
// way between the two.
func (e *Edge) LastOf(ctx context.Context, t ledger.Tenant) (ledger.Sequence, error) {
	shard := ShardOf(t, e.shards)
	info, err := e.info(ctx, shard)
	if err != nil {
		return 0, fmt.Errorf("last message of %s: %w: %w", t, ledger.ErrUnavailable, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	h, follows := e.handed[shard]
	if !follows || info.NumPending > 0 || h.count < info.Delivered.Consumer {
		return 0, fmt.Errorf("last message of %s: %w: messages are on their way", t, ledger.ErrUnavailable)
	}
	return h.last, nil
}

// Read begins with the message in question; ErrNoMessage when it is not there. It
// is for before Follow.
func (e *Edge) Read(ctx context.Context, shard int, seq ledger.Sequence) (Message, error) {
	fail := func(err error) (Message, error) {
		return Message{}, fmt.Errorf("read %s/%d: %w", streamName(shard), seq, err)
	}
	c, err := e.begin(ctx, shard, seq)
	if err != nil {
		return fail(fmt.Errorf("%w: %w", ledger.ErrUnavailable, err))
	}
	ctx, cancel := context.WithTimeout(ctx, notYet)
	defer cancel()
	m, err := c.Next(jetstream.FetchContext(ctx))
	switch {
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return fail(ErrNoMessage)
	case err != nil:
		return fail(fmt.Errorf("%w: %w", ledger.ErrUnavailable, err))
	}
	meta, err := m.Metadata()
	if err != nil {
		return fail(err)
	}
	if meta.Sequence.Stream != uint64(seq) {
		return fail(ErrNoMessage)
	}
	t, err := tenantOf(m.Subject())
	if err != nil {
		return fail(err)
	}
	return Message{Shard: shard, Tenant: t, Sequence: seq, Time: meta.Timestamp, Record: m.Data()}, nil
}

// begin has the shard's consumer deliver from the sequence on.
func (e *Edge) begin(ctx context.Context, shard int, from ledger.Sequence) (jetstream.Consumer, error) {
	if _, err := e.js.ResetConsumerToSequence(ctx, streamName(shard), e.name, uint64(from)); err != nil {
		return nil, fmt.Errorf("begin again with the consumer %s of %s: %w", e.name, streamName(shard), err)
	}
	return e.js.Consumer(ctx, streamName(shard), e.name)
}

// Follow is that of a journal. Which tenants the consumer delivers was said when it
// was made; two processes that use the same one keep each other from following.
func (e *Edge) Follow(ctx context.Context, shard int, after ledger.Sequence, tenants []ledger.Tenant, handle func(Message) error) error {
	note := func(h *handed) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if h == nil {
			delete(e.handed, shard)
			return
		}
		e.handed[shard] = *h
	}
	defer note(nil)
	f := follower{
		nc: e.nc, shard: shard, shared: true, last: after, handle: handle,
		took: func(delivered uint64, seq ledger.Sequence) { note(&handed{delivered, seq}) },
		consume: func(ctx context.Context, after ledger.Sequence) (jetstream.Consumer, jetstream.MessagesContext, error) {
			note(nil)
			c, err := e.begin(ctx, shard, after+1)
			if err != nil {
				return nil, nil, err
			}
			messages, err := ask(e.nc, c)
			if err == nil {
				note(&handed{0, after})
			}
			return c, messages, err
		},
	}
	return f.follow(ctx)
}

// Reads is where an edge has the reads of its tenants recorded.
func (e *Edge) Reads() *EdgeReads { return &EdgeReads{e.nc} }

// EdgeReads takes records of reads. An edge may not look at them.
type EdgeReads struct{ nc *nats.Conn }

// Append makes the record durable, as Side.Append does.
func (r *EdgeReads) Append(ctx context.Context, tenant string, record []byte) (ledger.Sequence, error) {
	m := nats.NewMsg(Reads.subject + tenant)
	m.Data = record
	if err := connected(r.nc); err != nil {
		return 0, fmt.Errorf("append to %s: %w", m.Subject, err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	a, err := request(ctx, r.nc, m)
	if err != nil {
		return 0, fmt.Errorf("append to %s: %w", m.Subject, err)
	}
	return ledger.Sequence(a.Seq), nil
}

// Scan says who can.
func (r *EdgeReads) Scan(context.Context, string, ledger.Sequence, time.Time, func(ledger.Sequence, time.Time, []byte) bool) error {
	return fmt.Errorf("%w: an edge gateway does not list recorded reads: ask a gateway of the ledger's own", ledger.ErrUnavailable)
}
