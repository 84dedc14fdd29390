package journal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal/internal/host"
)

// metaEpoch is where the streams' metadata hold the ledger's identity.
const metaEpoch = "stele.epoch"

// oldStream is the first of the streams of the layout before this one, which had a
// stream per shard.
const oldStream = "STELE-0"

// errOldLayout: the streams were written by a version whose layout this one cannot
// read.
var errOldLayout = errors.New("the journal has the layout of an earlier version (stream " + oldStream + "), which this version cannot read: " +
	"export the tenants with the version that wrote it, start this version with a new data folder or new NATS account, and import them there")

// Open finds the ledger's stream, or creates it, and verifies that it meets the
// requirements of a journal. Processes that open a new ledger at the same time end up
// with the same one: the stream carries the epoch, and a process that loses the race to
// create it uses the existing epoch.
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Journal, error) {
	if err := proveSync(ctx, cfg); err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	j := &Journal{nc: nc, js: js, log: cfg.Log, embedded: cfg.Embedded, replicas: max(cfg.Replicas, 1), guardInterval: cfg.guardInterval}
	if j.log == nil {
		j.log = slog.Default()
	}
	j.connection.nc, j.connection.log, j.connection.only = nc, j.log, cfg.Embedded != nil
	j.clock = clock{now: cfg.Now, elapsed: host.SinceBoot, embedded: cfg.Embedded != nil}
	if j.clock.now == nil {
		j.clock.now = time.Now
	}
	if j.guardInterval == 0 {
		j.guardInterval = time.Minute
	}
	if err := j.open(ctx); err != nil {
		return nil, fmt.Errorf("open journal: %w", j.explain(err))
	}
	j.ctx, j.cancel = context.WithCancel(context.Background())
	j.running.Go(func() { j.guard("the journal takes no more writes", &j.stopped, &j.stream) })
	return j, nil
}

func (j *Journal) open(ctx context.Context) error {
	found, err := j.findOrCreate(ctx)
	if err != nil {
		return err
	}
	if j.epoch, err = ledger.ParseEpoch(found.CachedInfo().Config.Metadata[metaEpoch]); err != nil {
		return fmt.Errorf("stream %s does not belong to a ledger: %w", streamName, err)
	}
	j.clock.observe(found.CachedInfo())
	j.stream.Stream, j.stream.want = found, streamConfig(j.replicas, j.epoch)
	return j.stream.check(found.CachedInfo(), 0)
}

// findOrCreate never recreates a stream that a ledger in use has lost: its history
// would silently be gone.
func (j *Journal) findOrCreate(ctx context.Context) (jetstream.Stream, error) {
	s, err := j.js.Stream(ctx, streamName)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return s, wrapStream(streamName, err)
	}
	switch _, err := j.js.Stream(ctx, oldStream); {
	case err == nil:
		return nil, errOldLayout
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, wrapStream(oldStream, err)
	}
	// Every process that writes checkpoints or keys found the journal first.
	for _, kind := range []AuxKind{Checkpoints, Reads, Keys} {
		switch _, err := j.js.Stream(ctx, kind.stream); {
		case err == nil:
			return j.stillMissing(ctx, kind)
		case !errors.Is(err, jetstream.ErrStreamNotFound):
			return nil, wrapStream(kind.stream, err)
		}
	}
	var epoch ledger.Epoch
	rand.Read(epoch[:])
	return j.create(ctx, streamConfig(j.replicas, epoch))
}

// stillMissing looks for the journal again: another process may just have created
// both.
func (j *Journal) stillMissing(ctx context.Context, kind AuxKind) (jetstream.Stream, error) {
	s, err := j.js.Stream(ctx, streamName)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("stream %s is missing, but the ledger's %s exists: restore it from a backup; if the log of the nats-server says that its metadata cannot be read, its messages are intact: see \"Damaged stream metadata\" in docs/operations.md", streamName, kind.stream)
	}
	return s, wrapStream(streamName, err)
}

const (
	// createTimeout is how long one try to create a stream may wait for the server. A cluster
	// does not answer all of several processes that create the same stream at once.
	createTimeout = 2 * time.Second
	// createInterval is the time between two tries.
	createInterval = 50 * time.Millisecond
)

// create makes a stream, or finds the one that another process has just made. A cluster
// reserves the name of such a stream before it can be found.
func (j *Journal) create(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	if err := j.space(); err != nil {
		return nil, wrapStream(want.Name, err)
	}
	for {
		s, err := j.createOrFind(ctx, want)
		if !errors.Is(err, jetstream.ErrStreamNotFound) && !errors.Is(err, context.DeadlineExceeded) {
			return s, wrapStream(want.Name, err)
		}
		select {
		case <-time.After(createInterval):
		case <-ctx.Done():
			return nil, fmt.Errorf("create %w", wrapStream(want.Name, err))
		}
	}
}

func (j *Journal) createOrFind(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	s, err := j.js.CreateStream(ctx, want)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return j.js.Stream(ctx, want.Name)
	}
	return s, err
}

// Errors of the servers that have a hint.
const (
	errCodeNoPeers    jetstream.ErrorCode = 10005
	errCodeNoReplicas jetstream.ErrorCode = 10074
)

// explain adds what to change in the set-up of the servers, if that is the reason.
func (j *Journal) explain(err error) error {
	var answer *jetstream.APIError
	var code jetstream.ErrorCode
	if errors.As(err, &answer) {
		code = answer.ErrorCode
	}
	last := j.nc.LastError() // a server does not answer a request that it forbids
	forbidden := errors.Is(last, nats.ErrPermissionViolation) && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout))
	switch {
	case code == errCodeNoReplicas:
		return fmt.Errorf("%w: the NATS server is not part of a cluster: %d copies of each stream require a cluster of as many servers (see docs/serve.md), one copy --replicas 1", err, j.replicas)
	case code == errCodeNoPeers:
		return fmt.Errorf("%w: %d copies of each stream require as many running servers with JetStream: start them, or use fewer --replicas", err, j.replicas)
	case errors.Is(err, nats.ErrNoResponders), code == jetstream.JSErrCodeJetStreamNotEnabled, code == jetstream.JSErrCodeJetStreamNotEnabledForAccount:
		return fmt.Errorf("%w: JetStream does not answer: enable it on the servers and in the account of the user", err)
	case forbidden && (strings.Contains(last.Error(), api+"STREAM.CREATE.") || strings.Contains(last.Error(), api+"STREAM.INFO."+oldStream)):
		// It would create the stream, which only the role install does.
		return fmt.Errorf("%w: %w: create the streams first, with stele nats-install and the credentials of the role install", err, last)
	case forbidden:
		return fmt.Errorf("%w: %w: give the user the permissions that stele nats-permissions prints", err, last)
	}
	return err
}

func wrapStream(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("stream %s: %w", name, err)
}

// streamConfig is the required configuration of the journal's stream.
func streamConfig(replicas int, epoch ledger.Epoch) jetstream.StreamConfig {
	return keepAll(streamName, subject, "Commits", replicas, epoch)
}

// keepAll is the part of the configuration that every stream of a ledger must have:
// nothing is ever removed.
func keepAll(name, subjects, what string, replicas int, epoch ledger.Epoch) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              name,
		Description:       what + " of a Stele ledger. Never change or delete.",
		Subjects:          []string{subjects},
		Retention:         jetstream.LimitsPolicy,
		MaxConsumers:      -1,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgsPerSubject: -1,
		MaxMsgSize:        -1,
		Discard:           jetstream.DiscardNew,
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		DenyDelete:        true,
		DenyPurge:         true,
		Compression:       jetstream.NoCompression,
		Metadata:          map[string]string{metaEpoch: epoch.String()},
	}
}
