package conn

import (
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reason is why a connection was refused.
type reason string

const (
	reasonMaxConnections reason = "max_connections"
	reasonAddressFull    reason = "address_full"
	reasonNoTurn         reason = "unauthenticated_connections"
	reasonProxyHeader    reason = "proxy_header"
	reasonHandshake      reason = "handshake"
)

// logInterval is the time between two messages of one kind.
const logInterval = 10 * time.Second

// metrics counts limited connections and logs them.
type metrics struct {
	log                *slog.Logger
	refused            *prometheus.CounterVec
	delayed, slowReads prometheus.Counter
	stalled            prometheus.Counter

	mu     sync.Mutex
	logged map[string]logged
}

// logged is when a message was last logged, and how often it was left out since.
type logged struct {
	at      time.Time
	skipped int
}

func newMetrics(log *slog.Logger) *metrics {
	m := &metrics{
		log: log,
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stele_connections_refused_total", Help: "Connections that were closed before they could carry calls, by reason."}, []string{"reason"}),
		delayed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stele_connections_delayed_total", Help: "Connections that waited because earlier ones of their address made no authenticated call."}),
		slowReads: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stele_connection_resets_slowed_total", Help: "Times that a connection was read more slowly because its client reset too many calls."}),
		stalled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stele_connections_stalled_total", Help: "Connections that were closed because memory was short and their clients received nothing of what waited for them."}),
		logged: make(map[string]logged),
	}
	for _, r := range []reason{reasonMaxConnections, reasonAddressFull, reasonNoTurn, reasonProxyHeader, reasonHandshake} {
		m.refused.WithLabelValues(string(r))
	}
	return m
}

func (m *metrics) refuse(r reason, from net.Addr, err error) {
	m.refused.WithLabelValues(string(r)).Inc()
	m.warn("connection refused: "+string(r), from, "error", err)
}

func (m *metrics) delay(from net.Addr) {
	m.delayed.Inc()
	m.warn("connection delayed: earlier connections of its address made no authenticated call", from)
}

func (m *metrics) slow(from net.Addr) {
	m.slowReads.Inc()
	m.warn("connection is read more slowly: its client resets too many calls", from)
}

func (m *metrics) stall(from net.Addr, why error) {
	m.stalled.Inc()
	m.warn("connection closed: memory is short, and its client receives nothing", from, "reason", why)
}

// warn logs one message of each kind per logInterval, with the number of those that
// were left out.
func (m *metrics) warn(message string, from net.Addr, args ...any) {
	now := time.Now()
	m.mu.Lock()
	last := m.logged[message]
	if !last.at.IsZero() && now.Sub(last.at) < logInterval {
		last.skipped++
		m.logged[message] = last
		m.mu.Unlock()
		return
	}
	m.logged[message] = logged{at: now}
	m.mu.Unlock()
	m.log.Warn(message, append([]any{"address", from.String(), "similar", last.skipped}, args...)...)
}

var (
	openDesc    = prometheus.NewDesc("stele_connections", "Open connections.", nil, nil)
	waitingDesc = prometheus.NewDesc("stele_connections_waiting", "Connections that wait because earlier ones of their address made no authenticated call.", nil, nil)
)

// Describe and Collect make a Limiter a prometheus.Collector.
func (l *Limiter) Describe(ch chan<- *prometheus.Desc) {
	ch <- openDesc
	ch <- waitingDesc
	l.metrics.refused.Describe(ch)
	l.metrics.delayed.Describe(ch)
	l.metrics.slowReads.Describe(ch)
	l.metrics.stalled.Describe(ch)
}

// Collect sends the current values.
func (l *Limiter) Collect(ch chan<- prometheus.Metric) {
	l.mu.Lock()
	open, waiting := l.open, l.waiting
	l.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, float64(open))
	ch <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(waiting))
	l.metrics.refused.Collect(ch)
	l.metrics.delayed.Collect(ch)
	l.metrics.slowReads.Collect(ch)
	l.metrics.stalled.Collect(ch)
}
