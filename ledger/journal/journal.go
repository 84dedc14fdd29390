// Package journal is the log that holds every commit: JetStream streams
// STELE-0 to STELE-<n-1>, one per shard, and each tenant in one of them.
//
// A message is a record of one tenant, on the subject stele.v1.<shard>.<tenant>.
// Append writes it durably, if the tenant's last message is the one that the
// caller built on; Follow delivers a shard's messages in order; Read and Last
// ask the stream's leader. What a record holds is the caller's business.
//
// The journal promises that a message it acknowledged stays: streams refuse
// deletes, the servers must fsync before they acknowledge, and a guard compares
// settings and state with what they must be at start and every minute. When
// they differ the journal takes no writes and says why.
//
// A Side is a stream beside the shards, kept in the same way, for what is said
// about commits: checkpoints, recorded reads.
package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/ledger"
)

var (
	// ErrConflict: another message of the tenant came first, or is on its way.
	// Nothing was written.
	ErrConflict = ledger.ErrConflict
	// ErrNoMessage: the shard has no message with that sequence.
	ErrNoMessage = errors.New("no such message")
)

// defaultShards is how many streams a new ledger gets.
const defaultShards = 8

// headerRoom is kept free of a message's payload for NATS's own headers.
const headerRoom = 1 << 10

// Config says how to open a journal.
type Config struct {
	// Shards is the number of streams of a ledger that is created now; 0 means 8.
	// A ledger that exists keeps its own; another number is an error.
	Shards int
	// Replicas of each stream that is created, and the fewest that one may have;
	// 0 means 1.
	Replicas int
	// UnsafeSync accepts servers that are not known to fsync every write: a power
	// cut may lose what they acknowledged.
	UnsafeSync bool
	// MonitorURLs are the HTTP monitoring endpoints of all servers that hold the
	// streams, e.g. http://10.0.0.1:8222. They prove that a server fsyncs: a quorum
	// must answer, and nobody may say no.
	MonitorURLs []string
	// Embedded is the server when it is ours, so that its settings are known.
	Embedded *Server
	// Log is where the guard reports; nil means slog.Default.
	Log *slog.Logger

	// guardInterval is the time between two checks; 0 means a minute.
	guardInterval time.Duration
}

// Journal is an open ledger's streams. Its methods may be called concurrently.
type Journal struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	log *slog.Logger

	epoch    ledger.Epoch
	shards   []*shard
	replicas int
	// guardInterval is the time between two checks of a stream.
	guardInterval time.Duration

	// stopped holds the reason once the guard has found a difference.
	stopped atomic.Pointer[error]

	// ctx ends when the journal is closed; running are the goroutines that Close
	// waits for.
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// shard is a stream that holds commits.
type shard struct {
	stream
	n        int
	appender appender
}

// stream is one that nothing may ever leave.
type stream struct {
	jetstream.Stream
	want jetstream.StreamConfig
	// seen is the highest sequence that this process knows to exist.
	seen atomic.Uint64
	// short is set when the last check found less; owned by the guard.
	short bool
}

// saw notes that a message exists.
func (s *stream) saw(seq ledger.Sequence) {
	for {
		old := s.seen.Load()
		if uint64(seq) <= old || s.seen.CompareAndSwap(old, uint64(seq)) {
			return
		}
	}
}

// Message is one record in the journal.
type Message struct {
	Shard    int
	Tenant   ledger.Tenant
	Sequence ledger.Sequence
	// Time is when the server stored it.
	Time   time.Time
	Record []byte
}

// Epoch is the ledger's identity.
func (j *Journal) Epoch() ledger.Epoch { return j.epoch }

// Shards is the number of streams.
func (j *Journal) Shards() int { return len(j.shards) }

// Shard is the one that holds the tenant.
func (j *Journal) Shard(t ledger.Tenant) int { return ShardOf(t, len(j.shards)) }

// ShardOf is the shard of a tenant among n: FNV-1a (32 bits) of its name modulo
// n. It is part of the format and never changes.
func ShardOf(t ledger.Tenant, n int) int {
	h := uint32(2166136261)
	for i := range len(t) {
		h = (h ^ uint32(t[i])) * 16777619
	}
	return int(h % uint32(n))
}

// MaxRecord is the longest record, in bytes.
func (j *Journal) MaxRecord() int { return int(j.nc.MaxPayload()) - headerRoom }

// Guard is nil, or why writes are refused; it wraps ledger.ErrReadOnly.
func (j *Journal) Guard() error {
	if p := j.stopped.Load(); p != nil {
		return *p
	}
	return nil
}

// Close stops what the journal runs and waits for it. The connection stays open.
func (j *Journal) Close() {
	for _, s := range j.shards {
		s.appender.close()
	}
	j.cancel()
	j.running.Wait()
}

func streamName(shard int) string { return fmt.Sprintf("STELE-%d", shard) }

func subject(shard int, t ledger.Tenant) string { return fmt.Sprintf("stele.v1.%d.%s", shard, t) }

// tenantOf is the tenant in a message's subject.
func tenantOf(subject string) (ledger.Tenant, error) {
	return ledger.ParseTenant(subject[strings.LastIndexByte(subject, '.')+1:])
}
