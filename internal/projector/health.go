package projector

import (
	"sync"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

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
