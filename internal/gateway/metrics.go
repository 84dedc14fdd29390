package gateway

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/scrub"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// metrics are what /metrics shows. No label carries a tenant: a ledger has
// thousands.
type metrics struct {
	registry     *prometheus.Registry
	methods      map[string]*methodMetrics // one for each method, made in advance
	commits      prometheus.Counter
	records      prometheus.Counter
	conflicts    prometheus.Counter
	watchStreams prometheus.Gauge
	overLimit    *prometheus.CounterVec
}

type methodMetrics struct {
	seconds prometheus.Observer
	codes   [codes.Unauthenticated + 1]prometheus.Counter
}

func newMetrics(g *Gateway) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		methods:  make(map[string]*methodMetrics),
		commits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stele_commits_total", Help: "Commits that this process has written."}),
		records: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stele_records_total", Help: "Journal messages that this process has written."}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stele_commit_conflicts_total", Help: "Records that had to be built again because another writer came first."}),
		watchStreams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "stele_watch_streams", Help: "Open watch streams."}),
		overLimit: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stele_over_limit_total", Help: "Requests that were refused because their tenant was over a limit."}, []string{"limit"}),
	}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "stele_grpc_seconds", Help: "How long calls took, in seconds; streams from their beginning to their end.",
		Buckets: prometheus.ExponentialBuckets(0.00005, 2.5, 14), // 50 µs to 7 s
	}, []string{"method"})
	calls := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stele_grpc_calls_total", Help: "Calls that have ended."}, []string{"method", "code"})
	for method, row := range policy.Methods {
		if row.Needs == policy.Public {
			continue
		}
		mm := &methodMetrics{seconds: seconds.WithLabelValues(method)}
		for c := range mm.codes {
			mm.codes[c] = calls.WithLabelValues(method, codes.Code(c).String())
		}
		m.methods[method] = mm
	}
	m.registry.MustRegister(m.commits, m.records, m.conflicts, m.watchStreams, m.overLimit, seconds, calls,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "stele_watches", Help: "Open watches."},
			func() float64 { return float64(g.hub.Watches.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "stele_watches_too_slow_total", Help: "Watches that were canceled because they fell behind."},
			func() float64 { return float64(g.hub.Slow.Load()) }),
		&replicaCollector{g},
		&treeCollector{g},
		&scrubCollector{g},
		g.limiter,
		memoryCollector{[]*budget.Share{g.cfg.Budget.Requests.Total, g.cfg.Budget.Bodies.Total, g.cfg.Budget.Answers}},
	)
	if g.cfg.SinkMetrics != nil {
		m.registry.MustRegister(g.cfg.SinkMetrics)
	}
	return m
}

func (m *metrics) called(method string, code codes.Code, took time.Duration) {
	if mm := m.methods[method]; mm != nil && int(code) < len(mm.codes) {
		mm.seconds.Observe(took.Seconds())
		mm.codes[code].Inc()
	}
}

// Committed counts a record that the ledger has written; it is the ledger's
// Config.Observe.
func (g *Gateway) Committed(commits, conflicts int) {
	g.metrics.commits.Add(float64(commits))
	g.metrics.conflicts.Add(float64(conflicts))
	if commits > 0 {
		g.metrics.records.Inc()
	}
}

// replicaCollector reads the replica when it is asked.
type replicaCollector struct{ g *Gateway }

var (
	lagDesc      = prometheus.NewDesc("stele_replica_lag_records", "Journal messages that the replica has not applied yet.", nil, nil)
	ageDesc      = prometheus.NewDesc("stele_replica_age_seconds", "Time since the replica was known to hold everything.", nil, nil)
	positionDesc = prometheus.NewDesc("stele_replica_position", "Sequence up to which the replica has followed the journal.", nil, nil)
	stoppedDesc  = prometheus.NewDesc("stele_replica_stopped", "1 when the replica has stopped because the journal contradicts what it saw.", nil, nil)
	readOnlyDesc = prometheus.NewDesc("stele_read_only", "1 when this process takes no writes.", nil, nil)
	upstreamDesc = prometheus.NewDesc("stele_upstream_following", "1 for the upstream that the replica follows, 0 for the others.", []string{"upstream"}, nil)
	verifiedDesc = prometheus.NewDesc("stele_upstream_verified_timestamp_seconds", "When the upstream's commits were last proven to be in a signed checkpoint.", []string{"upstream"}, nil)
	pinsDesc     = prometheus.NewDesc("stele_base_pins_behind", "Pins of tenants that follow a base and are behind its head.", nil, nil)
	pinAgeDesc   = prometheus.NewDesc("stele_base_oldest_pin_seconds", "Age of the oldest commit of a base that a tenant that follows it lacks.", nil, nil)
	clockDesc    = prometheus.NewDesc("stele_clock_wrong_seconds", "How far this process's clock is ahead (negative: behind), if it refuses writes for that reason; else 0.", nil, nil)
	aheadDesc    = prometheus.NewDesc("stele_tenants_ahead", "Tenants whose newest commit has a time that is more than a minute ahead of this process's clock.", nil, nil)
	tenantsDesc  = prometheus.NewDesc("stele_tenants", "Tenants that the replica holds.", nil, nil)
)

func (c *replicaCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lagDesc, ageDesc, positionDesc, stoppedDesc, readOnlyDesc, clockDesc, aheadDesc, tenantsDesc, pinsDesc, pinAgeDesc, upstreamDesc, verifiedDesc} {
		ch <- d
	}
}

func (c *replicaCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	bit := func(err error) float64 {
		if err != nil {
			return 1
		}
		return 0
	}
	r := c.g.cfg.Replica
	if p, ok := r.Progress(); ok {
		gauge(positionDesc, float64(p.Position))
		gauge(lagDesc, float64(p.Last)-float64(p.Position))
		if !p.Current.IsZero() {
			gauge(ageDesc, time.Since(p.Current).Seconds())
		}
	}
	gauge(stoppedDesc, bit(r.Stopped()))
	writable := c.g.writable()
	gauge(readOnlyDesc, bit(writable))
	var clock *ledger.ClockError
	skew := 0.0
	if errors.As(writable, &clock) {
		skew = clock.Ahead.Seconds()
	}
	gauge(clockDesc, skew)
	gauge(aheadDesc, float64(len(r.Ahead(time.Now().Add(ledger.ClockBound)))))
	gauge(tenantsDesc, float64(r.Tenants()))
	if pins, since, err := r.OldestPin(); err == nil {
		gauge(pinsDesc, float64(pins))
		age := 0.0
		if pins > 0 {
			age = time.Since(since).Seconds()
		}
		gauge(pinAgeDesc, age)
	}
	if c.g.cfg.Upstream == nil {
		return
	}
	for _, u := range c.g.cfg.Upstream.Status() {
		following := 0.0
		if u.Following {
			following = 1
		}
		ch <- prometheus.MustNewConstMetric(upstreamDesc, prometheus.GaugeValue, following, u.Address)
		if u.Verified != nil {
			ch <- prometheus.MustNewConstMetric(verifiedDesc, prometheus.GaugeValue, float64(u.Verified.Seconds), u.Address)
		}
	}
}

// treeCollector reads the tree when it is asked; without one it shows nothing.
type treeCollector struct{ g *Gateway }

var (
	treeDesc        = prometheus.NewDesc("stele_tree_size", "Commits in the tree.", nil, nil)
	checkpointDesc  = prometheus.NewDesc("stele_checkpoint_size", "Commits that the newest checkpoint covers.", nil, nil)
	splitViewsDesc  = prometheus.NewDesc("stele_split_views", "Checkpoints of the ledger's key that contradict the tree: evidence that two histories were signed.", nil, nil)
	cosignedDesc    = prometheus.NewDesc("stele_checkpoint_cosigned_size", "Commits that the newest checkpoint covers which this many witnesses have cosigned.", []string{"cosignatures"}, nil)
	treeStoppedDesc = prometheus.NewDesc("stele_tree_stopped", "1 when the tree has stopped, and signs nothing, because the ledger contradicts what it saw.", nil, nil)
)

func (c *treeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{treeDesc, checkpointDesc, splitViewsDesc, cosignedDesc, treeStoppedDesc} {
		ch <- d
	}
}

func (c *treeCollector) Collect(ch chan<- prometheus.Metric) {
	t := c.g.cfg.Tree
	if t == nil {
		return
	}
	if size, ok := t.Size(); ok {
		newest, _ := t.Newest()
		ch <- prometheus.MustNewConstMetric(treeDesc, prometheus.GaugeValue, float64(size))
		ch <- prometheus.MustNewConstMetric(checkpointDesc, prometheus.GaugeValue, float64(newest.Size))
	}
	ch <- prometheus.MustNewConstMetric(splitViewsDesc, prometheus.GaugeValue, float64(t.SplitViews()))
	if cosigned := c.g.cfg.Cosigned; cosigned != nil {
		for n := 1; n <= cosigned.Witnesses(); n++ {
			newest, _ := cosigned.Newest(n)
			ch <- prometheus.MustNewConstMetric(cosignedDesc, prometheus.GaugeValue, float64(newest.Size), strconv.Itoa(n))
		}
	}
	stopped := 0.0
	if t.Stopped() != nil {
		stopped = 1
	}
	ch <- prometheus.MustNewConstMetric(treeStoppedDesc, prometheus.GaugeValue, stopped)
}

// HTTP answers /metrics, /healthz (the process runs) and /readyz (its replica
// has caught up once and has not stopped; with ?writes, it also takes writes).
func (g *Gateway) HTTP() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(g.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		writable := func() error {
			if !r.URL.Query().Has("writes") {
				return nil
			}
			return g.writable()
		}
		switch err := g.cfg.Replica.Stopped(); {
		case g.closing.Err() != nil:
			http.Error(w, "shutting down", http.StatusServiceUnavailable)
		case err != nil:
			http.Error(w, "the replica has stopped: see stele status", http.StatusServiceUnavailable)
		case !g.cfg.Replica.Ready():
			http.Error(w, "the replica is catching up", http.StatusServiceUnavailable)
		case writable() != nil:
			http.Error(w, "this process takes no writes: see stele status", http.StatusServiceUnavailable)
		default:
			w.Write([]byte("ok\n"))
		}
	})
	return mux
}

// scrubbed are the results for the journal's copies; none without a scrubber.
func (g *Gateway) scrubbed() []scrub.Status {
	if g.cfg.Scrubbed == nil {
		return nil
	}
	return g.cfg.Scrubbed()
}

// damage describes the first damage in the journal's copies; empty without any.
func (g *Gateway) damage() string {
	for _, st := range g.scrubbed() {
		if len(st.Findings) > 0 {
			return strings.TrimPrefix(st.Server+": "+st.Findings[0], ": ")
		}
	}
	return ""
}

func (g *Gateway) journalCopies() []*stelev1.JournalCopy {
	var copies []*stelev1.JournalCopy
	for _, st := range g.scrubbed() {
		c := &stelev1.JournalCopy{Server: st.Server, Messages: st.Messages, Damaged: st.Damaged, Findings: st.Findings, Error: st.Failed}
		if !st.Completed.IsZero() {
			c.Completed = timestamppb.New(st.Completed)
		}
		copies = append(copies, c)
	}
	return copies
}

// scrubCollector shows the results for the journal's copies; without a scrubber nothing.
type scrubCollector struct{ g *Gateway }

var (
	scrubbedDesc = prometheus.NewDesc("stele_journal_scrub_completed_timestamp_seconds", "When this server's copy of the journal was last read and compared with the tree; 0 for never.", []string{"server"}, nil)
	damagedDesc  = prometheus.NewDesc("stele_journal_damaged_messages", "Messages in this server's copy of the journal that cannot be read, or are not what was written.", []string{"server"}, nil)
)

func (c *scrubCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- scrubbedDesc
	ch <- damagedDesc
}

func (c *scrubCollector) Collect(ch chan<- prometheus.Metric) {
	for _, st := range c.g.scrubbed() {
		completed := 0.0
		if !st.Completed.IsZero() {
			completed = float64(st.Completed.Unix())
		}
		ch <- prometheus.MustNewConstMetric(scrubbedDesc, prometheus.GaugeValue, completed, st.Server)
		ch <- prometheus.MustNewConstMetric(damagedDesc, prometheus.GaugeValue, float64(st.Damaged), st.Server)
	}
}
