package journal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/ledger"
)

// A ledger's identity is in each stream's metadata.
const (
	metaEpoch  = "stele.epoch"
	metaShards = "stele.shards"
)

// Open finds the ledger's streams, or creates them, and verifies that they are
// what a journal must be. Processes that open a new ledger at the same time end
// up with the same one: STELE-0 comes first and carries the epoch, whoever does
// not get to create it takes the epoch it has.
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Journal, error) {
	if err := proveSync(ctx, cfg); err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	j := &Journal{nc: nc, js: js, log: cfg.Log, replicas: max(cfg.Replicas, 1), guardInterval: cfg.guardInterval}
	if j.log == nil {
		j.log = slog.Default()
	}
	if j.guardInterval == 0 {
		j.guardInterval = time.Minute
	}
	if err := j.open(ctx, cfg); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j.ctx, j.cancel = context.WithCancel(context.Background())
	streams := make([]*stream, len(j.shards))
	for i, s := range j.shards {
		streams[i] = &s.stream
	}
	j.running.Go(func() { j.guard("the journal takes no more writes", &j.stopped, streams...) })
	return j, nil
}

func (j *Journal) open(ctx context.Context, cfg Config) error {
	shards := cfg.Shards
	if shards == 0 {
		shards = defaultShards
	}
	var epoch ledger.Epoch
	rand.Read(epoch[:])
	first, err := j.findOrCreate(ctx, streamConfig(0, shards, j.replicas, epoch))
	if err != nil {
		return err
	}
	meta := first.CachedInfo().Config.Metadata
	if j.epoch, err = ledger.ParseEpoch(meta[metaEpoch]); err != nil {
		return fmt.Errorf("%s is not a ledger's: %w", streamName(0), err)
	}
	n, err := strconv.Atoi(meta[metaShards])
	switch {
	case err != nil || n < 1:
		return fmt.Errorf("%s is not a ledger's: its metadata says %q shards", streamName(0), meta[metaShards])
	case cfg.Shards != 0 && cfg.Shards != n:
		return fmt.Errorf("the ledger has %d shards, not %d: the number is fixed when a ledger is created", n, cfg.Shards)
	}
	for i := range n {
		s := &shard{n: i, stream: stream{Stream: first, want: streamConfig(i, n, j.replicas, j.epoch)}}
		if i > 0 {
			if s.Stream, err = j.findOrCreate(ctx, s.want); err != nil {
				return err
			}
		}
		if err := s.check(s.CachedInfo(), 0); err != nil {
			return err
		}
		j.shards = append(j.shards, s)
	}
	return nil
}

// findOrCreate never makes a stream anew that a used ledger has lost: its
// history would silently be gone.
func (j *Journal) findOrCreate(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := j.js.Stream(ctx, want.Name)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return s, wrapStream(want.Name, err)
	}
	used, err := j.used(ctx)
	if err != nil {
		return nil, err
	}
	if used {
		// Whoever creates a ledger writes only after its last stream is there.
		s, err = j.js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, fmt.Errorf("%s is missing, but other streams of the ledger hold messages: restore it from a backup", want.Name)
		}
		return s, wrapStream(want.Name, err)
	}
	return j.create(ctx, want)
}

// create makes a stream, or finds the one that another process has just made.
func (j *Journal) create(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := j.js.CreateStream(ctx, want)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		s, err = j.js.Stream(ctx, want.Name)
	}
	return s, wrapStream(want.Name, err)
}

// used says whether any stream of a ledger holds a message.
func (j *Journal) used(ctx context.Context) (bool, error) {
	list := j.js.ListStreams(ctx, jetstream.WithStreamListSubject("stele.v1.*.*"))
	used := false
	for info := range list.Info() {
		used = used || info.State.Msgs > 0
	}
	return used, wrapStream("list", list.Err())
}

func wrapStream(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("stream %s: %w", name, err)
}

// streamConfig is what a shard's stream must be.
func streamConfig(shard, shards, replicas int, epoch ledger.Epoch) jetstream.StreamConfig {
	c := keepAll(streamName(shard), fmt.Sprintf("stele.v1.%d.*", shard), "Commits", replicas, epoch)
	c.Metadata[metaShards] = strconv.Itoa(shards)
	return c
}

// keepAll is what every stream of a ledger must be: nothing ever leaves it.
func keepAll(name, subjects, what string, replicas int, epoch ledger.Epoch) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               name,
		Description:        what + " of a Stele ledger. Never change or delete.",
		Subjects:           []string{subjects},
		Retention:          jetstream.LimitsPolicy,
		MaxConsumers:       -1,
		MaxMsgs:            -1,
		MaxBytes:           -1,
		MaxMsgsPerSubject:  -1,
		MaxMsgSize:         -1,
		Discard:            jetstream.DiscardNew,
		Storage:            jetstream.FileStorage,
		Replicas:           replicas,
		DenyDelete:         true,
		DenyPurge:          true,
		Compression:        jetstream.NoCompression,
		AllowAtomicPublish: true,
		Metadata:           map[string]string{metaEpoch: epoch.String()},
	}
}
