package projector

import (
	"log/slog"
	"sync/atomic"

	"github.com/stelehq/stele/internal/ledger/routes"
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
