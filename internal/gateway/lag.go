package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// lagInterval is the time between two samples of all sinks.
	lagInterval = 10 * time.Second
	// lagSamples are kept of each sink: the samples of 6 hours.
	lagSamples = int(6 * time.Hour / lagInterval)
)

// lagHistory is how far the sinks were behind in the last hours, over all tenants. It is in
// memory, and begins when the process starts.
type lagHistory struct {
	mu    sync.Mutex // guards sinks
	sinks map[string]*lagRing
}

// lagRing has the newest samples of a sink. The oldest one is at next once it is full.
type lagRing struct {
	samples []lagSample
	next    int
}

type lagSample struct {
	time int64 // in nanoseconds
	lag  uint64
}

func (r *lagRing) add(s lagSample) {
	if len(r.samples) < lagSamples {
		r.samples = append(r.samples, s)
		return
	}
	r.samples[r.next] = s
	r.next = (r.next + 1) % lagSamples
}

// add records a sample of all sinks that the routes name, and forgets the others. A sink whose
// lag is not known is missing in lags.
func (h *lagHistory) add(now time.Time, named map[string]routes.Sink, lags map[string]uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sinks == nil {
		h.sinks = make(map[string]*lagRing)
	}
	for name := range h.sinks {
		if _, is := named[name]; !is {
			delete(h.sinks, name)
		}
	}
	for name, lag := range lags {
		if h.sinks[name] == nil {
			h.sinks[name] = &lagRing{}
		}
		h.sinks[name].add(lagSample{now.UnixNano(), lag})
	}
}

// of are the samples of a sink, oldest first.
func (h *lagHistory) of(sink string) []*stelev1.LagSample {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.sinks[sink]
	if r == nil {
		return nil
	}
	out := make([]*stelev1.LagSample, 0, len(r.samples))
	for i := range r.samples {
		s := r.samples[(r.next+i)%len(r.samples)]
		out = append(out, &stelev1.LagSample{Time: timestamppb.New(time.Unix(0, s.time)), LagRevisions: s.lag})
	}
	return out
}

// lagSampler records how far the sinks are behind.
type lagSampler struct{ *Gateway }

// run takes samples until ctx ends.
func (g lagSampler) run(ctx context.Context) {
	tick := time.NewTicker(lagInterval)
	defer tick.Stop()
	for {
		if sinks, err := g.cfg.Sinks(); err == nil {
			g.sample(ctx, sinks)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// sample takes one sample. A sink that does not answer is left out.
func (g lagSampler) sample(ctx context.Context, sinks Sinks) {
	table, _, err := g.routes()
	if err != nil || len(table.Sinks) == 0 {
		return
	}
	now, lags := time.Now(), make(map[string]uint64, len(table.Sinks))
	var mu sync.Mutex // guards lags
	var asking sync.WaitGroup
	for name := range table.Sinks {
		asking.Go(func() {
			if st, err := askStatus(ctx, sinks, name, ledger.Tenant("")); err == nil {
				mu.Lock()
				defer mu.Unlock()
				lags[name] = st.LagRevisions
			}
		})
	}
	asking.Wait()
	g.lags.add(now, table.Sinks, lags)
}
