package projector

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/routes"
	sinkstatev1 "github.com/stelehq/stele/internal/projector/sinkstate/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// target is a sink as the routes name it. It is shared by everything that works for the
// sink, and lasts as long as its settings and the routes to it do.
type target struct {
	p       *Projector
	name    string
	spec    routes.Sink
	routing string // digest of the sink's part of the routes
	log     *slog.Logger

	// table is replaced by the projector when the routes change in a way that does not
	// change which keys belong to the sink.
	table atomic.Pointer[routes.Table]

	health health
	drift  drifts
	// stop is why nothing is written to the sink; empty while it runs.
	stop stopper
}

// fail records that something went wrong.
func (t *target) fail(err error) {
	t.p.metrics.failed(t.name)
	if t.health.fail(err) {
		t.log.Warn("the sink does not take everything", "error", err)
	}
}

// health counts the successes and failures of a sink for its status.
type health struct {
	mu         sync.Mutex // guards all below
	writes     uint64
	failures   uint64
	lastErr    error
	failed     time.Time
	openFailed time.Time // since when the sink cannot be opened; zero while it is open
}

// fail records an error, and reports whether it is new: repeated errors are logged once a
// minute.
func (h *health) fail(err error) (fresh bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fresh = h.lastErr == nil || h.lastErr.Error() != err.Error() || time.Since(h.failed) > time.Minute
	h.failures++
	h.lastErr, h.failed = err, time.Now()
	return fresh
}

// opening records whether the sink can be opened.
func (h *health) opening(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		h.openFailed = time.Time{}
	case h.openFailed.IsZero():
		h.openFailed = time.Now()
	}
}

// count records a successful write.
func (h *health) count() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writes++
}

// written is the number of successful writes.
func (h *health) written() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.writes
}

// failingToOpen sets why the sink cannot be opened, if so.
func (h *health) failingToOpen(st *stelev1.SinkStatus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.openFailed.IsZero() && h.lastErr != nil {
		st.Failing, st.FailingSince = h.lastErr.Error(), timestamppb.New(h.openFailed)
	}
}

// tally sets the numbers of successes and failures.
func (h *health) tally(st *stelev1.SinkStatus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	st.Writes, st.Failures = h.writes, h.failures
	if h.lastErr != nil {
		st.LastError, st.Failed = h.lastErr.Error(), timestamppb.New(h.failed)
	}
}

// stopper stops a sink that has lost or changed more than its drift limit, until an
// operator resolves it. The decision to stop is stored in an auxiliary stream, so that
// no other process writes to the sink either.
type stopper struct {
	mu     sync.Mutex // guards all below
	bucket *journal.Bucket
	sink   string
	seq    ledger.Sequence
	why    string
	unsure bool // the outcome of a set is unknown: why may not be what is stored
}

func stopName(sink string) string { return "stopped." + sink }

func readStop(ctx context.Context, bucket *journal.Bucket, sink string) (*sinkstatev1.Stop, ledger.Sequence, error) {
	entry, err := bucket.Get(ctx, stopName(sink))
	if err != nil {
		return nil, 0, err
	}
	stop := &sinkstatev1.Stop{}
	if err := proto.Unmarshal(entry.Body, stop); err != nil {
		return nil, 0, fmt.Errorf("decode %s: %w", entry.Name, err)
	}
	return stop, entry.Sequence, nil
}

func (s *stopper) load(ctx context.Context, bucket *journal.Bucket, sink string) error {
	stop, seq, err := readStop(ctx, bucket, sink)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bucket, s.sink, s.seq, s.why, s.unsure = bucket, sink, seq, stop.Reason, false
	return nil
}

// set stops the sink for a reason; an empty one lets it run again. After an error it reads
// what is stored: the decision may have been saved although the answer was lost, or another
// process may have saved one. The next set replaces that.
func (s *stopper) set(ctx context.Context, why string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why == s.why && !s.unsure {
		return nil
	}
	var body []byte
	if why != "" {
		var err error
		if body, err = proto.Marshal(&sinkstatev1.Stop{Reason: why, Since: timestamppb.Now()}); err != nil {
			return fmt.Errorf("encode why sink %s stops: %w", s.sink, err)
		}
	}
	seq, err := s.bucket.Put(ctx, stopName(s.sink), s.seq, body)
	if err != nil {
		s.unsure = true
		if stored, at, readErr := readStop(ctx, s.bucket, s.sink); readErr == nil {
			s.seq, s.why = at, stored.Reason
		}
		return fmt.Errorf("save whether sink %s has stopped: %w", s.sink, err)
	}
	s.seq, s.why, s.unsure = seq, why, false
	return nil
}

func (s *stopper) reason() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

func (s *stopper) stopped() bool { return s.reason() != "" }
