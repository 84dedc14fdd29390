// Package journal is the log that holds every commit: the JetStream stream STELE, with
// the one subject stele.journal.v1.
//
// A message is a record: commits of any tenants. Append writes one durably if it
// becomes the message after the one that the caller built on; Follow delivers messages
// in order; Read and Last ask the stream's leader. The package does not look into
// records.
//
// The journal keeps every message that it acknowledged: the stream refuses deletes, the
// servers must fsync before they acknowledge, and a guard compares settings and state
// with the requirements at start and every minute. If they differ, the journal rejects
// writes and reports the difference.
//
// An AuxStream is a further stream, kept in the same way, for data about commits:
// checkpoints, recorded reads.
package journal

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

var (
	// ErrConflict: another message came first, or is in flight. Nothing was written.
	ErrConflict = ledger.ErrConflict
	// ErrNoMessage: the stream has no message with that sequence.
	ErrNoMessage = errors.New("no such message")
)

// The journal's stream and its subject. The subject is literal, so that two writers
// that expect the same last sequence cannot both succeed, also while a cluster
// changes its leader.
const (
	streamName = "STELE"
	subject    = "stele.journal.v1"
)

// headerRoom is kept free of a message's payload for NATS's own headers.
const headerRoom = 1 << 10

// Config defines how to open a journal.
type Config struct {
	// Replicas of each stream that is created, and the fewest that an existing one is
	// allowed to have; 0 means 1.
	Replicas int
	// UnsafeSync accepts servers that are not known to fsync every write: a power
	// failure may lose acknowledged writes.
	UnsafeSync bool
	// MonitorURLs are the HTTP monitoring endpoints of all servers that hold the
	// streams, e.g. http://10.0.0.1:8222. They prove that a server fsyncs: a quorum
	// must confirm it, and no server may deny it.
	MonitorURLs []string
	// Embedded is the server when it is ours, so that its settings are known.
	Embedded *Server
	// Now replaces this process's clock in tests; nil means time.Now.
	Now func() time.Time
	// Log is where the guard reports; nil means slog.Default.
	Log *slog.Logger

	// guardInterval is the time between two checks; 0 means a minute.
	guardInterval time.Duration
}

// Journal is an open ledger's stream. Its methods may be called concurrently.
type Journal struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	log *slog.Logger
	// embedded is nil for servers elsewhere.
	embedded *Server

	epoch    ledger.Epoch
	stream   stream
	clock    clock
	replicas int
	// guardInterval is the time between two checks of a stream.
	guardInterval time.Duration

	connection connection

	// stopped holds the reason once the guard has found a difference.
	stopped atomic.Pointer[error]

	// ctx ends when the journal is closed; running are the goroutines that Close
	// waits for.
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
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

// noteSeen notes that a message exists.
func (s *stream) noteSeen(seq ledger.Sequence) {
	for {
		old := s.seen.Load()
		if uint64(seq) <= old || s.seen.CompareAndSwap(old, uint64(seq)) {
			return
		}
	}
}

// Message is one record in the journal.
type Message struct {
	Sequence ledger.Sequence
	// Time is when the server stored it.
	Time   time.Time
	Record []byte
	// Consumer that has delivered it; nil if it was read by itself.
	Consumer *Consumer
}

// Epoch is the ledger's identity.
func (j *Journal) Epoch() ledger.Epoch { return j.epoch }

// MaxRecord is the longest record, in bytes.
func (j *Journal) MaxRecord() int { return int(j.nc.MaxPayload()) - headerRoom }

// Stopped is nil, or why the guard has stopped writes, a ledger.ErrReadOnly.
func (j *Journal) Stopped() error {
	if p := j.stopped.Load(); p != nil {
		return *p
	}
	return nil
}

// Guard is nil, or why writes are refused: the error of Stopped, a *ledger.ClockError or a
// ledger.ErrNoSpace. It asks the system for both, which Append does once per record.
func (j *Journal) Guard() error {
	if err := j.Stopped(); err != nil {
		return err
	}
	if _, err := j.clock.read(); err != nil {
		return err
	}
	return j.space()
}

// space is nil, or a ledger.ErrNoSpace.
func (j *Journal) space() error {
	if j.embedded == nil { // the disks of other servers are not known
		return nil
	}
	return j.embedded.space()
}

// Close stops the journal's goroutines and waits for them. The connection stays open.
func (j *Journal) Close() {
	j.cancel()
	j.running.Wait()
}
