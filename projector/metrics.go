package projector

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are what the projector of a process tells of its sinks, as a
// prometheus.Collector. No label carries a tenant.
type Metrics struct {
	projector atomic.Pointer[Projector]
	delay     *prometheus.HistogramVec
	failures  *prometheus.CounterVec
	drift     *prometheus.CounterVec
}

// NewMetrics makes metrics to give to Start.
func NewMetrics() *Metrics {
	sink := []string{"sink"}
	return &Metrics{
		delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "stele_sink_delay_seconds", Help: "Time from when the projector saw a change until it was in the sink.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 14), // 1 ms to 2 min
		}, sink),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stele_sink_failures_total", Help: "Writes and calls that a sink did not take, and other failures of it."}, sink),
		drift: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stele_sink_drift_total", Help: "Items that were found not to be as the ledger says."}, []string{"sink", "kind"}),
	}
}

func (m *Metrics) of(p *Projector) { m.projector.Store(p) }

func (m *Metrics) wrote(sink string, after time.Duration) {
	m.delay.WithLabelValues(sink).Observe(after.Seconds())
}

func (m *Metrics) failed(sink string)        { m.failures.WithLabelValues(sink).Inc() }
func (m *Metrics) drifted(sink, kind string) { m.drift.WithLabelValues(sink, kind).Inc() }

var (
	heldDesc   = prometheus.NewDesc("stele_sink_held", "1 for the sinks that this process writes to.", []string{"sink"}, nil)
	behindDesc = prometheus.NewDesc("stele_sink_lag_revisions", "Revisions that are not all in the sink.", []string{"sink"}, nil)
	oldestDesc = prometheus.NewDesc("stele_sink_lag_seconds", "How long the oldest change that is not in the sink has waited.", []string{"sink"}, nil)
	parkedDesc = prometheus.NewDesc("stele_sink_parked", "Keys or events that the sink would not take.", []string{"sink"}, nil)
)

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	m.delay.Describe(ch)
	m.failures.Describe(ch)
	m.drift.Describe(ch)
	for _, d := range []*prometheus.Desc{heldDesc, behindDesc, oldestDesc, parkedDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.delay.Collect(ch)
	m.failures.Collect(ch)
	m.drift.Collect(ch)
	p := m.projector.Load()
	if p == nil {
		return
	}
	for name, st := range p.statuses() {
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, name)
		}
		if st == nil {
			gauge(heldDesc, 0)
			continue
		}
		gauge(heldDesc, 1)
		if st.Name == "" { // how far it has come is not known
			continue
		}
		gauge(behindDesc, float64(st.LagRevisions))
		gauge(oldestDesc, st.Lag.AsDuration().Seconds())
		gauge(parkedDesc, float64(st.Parked))
	}
}
