package projector

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics reports the sinks of a process's projector, as a prometheus.Collector. No
// label contains a tenant.
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
	heldDesc       = prometheus.NewDesc("stele_sink_held", "1 for the sinks that this process writes to.", []string{"sink"}, nil)
	behindDesc     = prometheus.NewDesc("stele_sink_lag_revisions", "Revisions that are not all in the sink.", []string{"sink"}, nil)
	oldestDesc     = prometheus.NewDesc("stele_sink_lag_seconds", "How long the oldest change that is not in the sink has waited.", []string{"sink"}, nil)
	failingDesc    = prometheus.NewDesc("stele_sink_failing", "1 while writes to the sink fail and are retried.", []string{"sink"}, nil)
	stoppedDesc    = prometheus.NewDesc("stele_sink_stopped", "1 while the sink has stopped: it has lost or changed more than its drift limit.", []string{"sink"}, nil)
	pendingDesc    = prometheus.NewDesc("stele_sink_pending", "Keys, or events for a bus, that are not in the sink yet.", []string{"sink"}, nil)
	leftDesc       = prometheus.NewDesc("stele_sink_time_left_seconds", "How long the pending keys take at the rate of the last 30 seconds; absent while nothing is written.", []string{"sink"}, nil)
	uncomparedDesc = prometheus.NewDesc("stele_sink_uncompared", "Tenants and items that the last sweep could not compare with the ledger.", []string{"sink"}, nil)
	parkedDesc     = prometheus.NewDesc("stele_sink_parked", "Keys or events that the sink would reject.", []string{"sink"}, nil)
)

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	m.delay.Describe(ch)
	m.failures.Describe(ch)
	m.drift.Describe(ch)
	for _, d := range []*prometheus.Desc{heldDesc, behindDesc, oldestDesc, parkedDesc, failingDesc, stoppedDesc, pendingDesc, leftDesc, uncomparedDesc} {
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
		gauge(failingDesc, flag(st.FailingSince != nil))
		if st.Name == "" { // how far it has come is not known
			continue
		}
		gauge(stoppedDesc, flag(st.Stopped != ""))
		gauge(pendingDesc, float64(st.Pending))
		if st.TimeLeft != nil {
			gauge(leftDesc, st.TimeLeft.AsDuration().Seconds())
		}
		gauge(uncomparedDesc, float64(st.Uncompared))
		gauge(behindDesc, float64(st.LagRevisions))
		gauge(oldestDesc, st.Lag.AsDuration().Seconds())
		gauge(parkedDesc, float64(st.Parked))
	}
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}
