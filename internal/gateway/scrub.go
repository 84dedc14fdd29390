package gateway

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stelehq/stele/internal/ledger/scrub"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

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
