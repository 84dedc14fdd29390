package projections

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

const (
	// lagEvery is the time between two samples of a tenant, and lagsKept how many are
	// kept: the last half hour of looking.
	lagEvery = 2 * time.Second
	lagsKept = 900
	// lagTenants are remembered at a time.
	lagTenants = 64
)

// lags are the lags that users have seen, for the charts. They are collected while a
// user looks, and are shown only to users who have just received the newest of them.
type lags struct {
	mu      sync.Mutex // guards tenants
	tenants map[ledger.Tenant][]lagSample
}

// lagSample is how many revisions each sink had before it at a time.
type lagSample struct {
	time  time.Time
	sinks map[string]uint64
}

// add records a user's newest values, and returns the samples of the tenant, oldest
// first, which do not change.
func (l *lags) add(t ledger.Tenant, sinks []*stelev1.SinkStatus) []lagSample {
	if len(sinks) == 0 {
		return nil
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	all, known := l.tenants[t]
	if len(all) > 0 && now.Sub(all[len(all)-1].time) < lagEvery*9/10 {
		return all
	}
	if l.tenants == nil {
		l.tenants = make(map[ledger.Tenant][]lagSample)
	}
	if !known && len(l.tenants) >= lagTenants {
		l.forgetOldest()
	}
	s := lagSample{now, make(map[string]uint64, len(sinks))}
	for _, sink := range sinks {
		s.sinks[strings.Clone(sink.Name)] = sink.LagRevisions
	}
	all = append(all[max(0, len(all)+1-lagsKept):len(all):len(all)], s)
	l.tenants[t] = all
	return all
}

func (l *lags) forgetOldest() {
	var oldest ledger.Tenant
	for t, all := range l.tenants {
		if oldest == "" || all[len(all)-1].time.Before(l.tenants[oldest][len(l.tenants[oldest])-1].time) {
			oldest = t
		}
	}
	delete(l.tenants, oldest)
}

// chart is samples as uPlot has them, a list of times and one of each sink's.
func chart(samples []lagSample, sinks []*stelev1.SinkStatus) string {
	names, series := make([]string, len(sinks)), make([][]*uint64, len(sinks))
	times := make([]float64, len(samples))
	for i, s := range samples {
		times[i] = float64(s.time.UnixMilli()) / 1000
	}
	for i, sink := range sinks {
		names[i], series[i] = sink.Name, make([]*uint64, len(samples))
		for j, s := range samples {
			if n, ok := s.sinks[sink.Name]; ok {
				series[i][j] = &n
			}
		}
	}
	b, err := json.Marshal(struct {
		Names  []string    `json:"names"`
		Times  []float64   `json:"times"`
		Series [][]*uint64 `json:"series"`
	}{names, times, series})
	if err != nil {
		return "{}" // numbers and names always encode
	}
	return string(b)
}

// lastOf are the newest samples, newest first.
func lastOf(samples []lagSample, n int) []lagSample {
	var out []lagSample
	for i := len(samples) - 1; i >= 0 && len(out) < n; i-- {
		out = append(out, samples[i])
	}
	return out
}
