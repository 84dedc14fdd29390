package gateway

import (
	"math"
	runtimemetrics "runtime/metrics"

	"github.com/prometheus/client_golang/prometheus"
)

// memoryUse returns the memory that counts towards the process's memory limit, which is
// what the Go runtime has taken from the system and not given back, and the limit, in
// bytes. The limit is 0 if there is none.
func memoryUse() (used, limit uint64) {
	samples := []runtimemetrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/gc/gomemlimit:bytes"}}
	runtimemetrics.Read(samples)
	if limit = samples[2].Value.Uint64(); limit == math.MaxInt64 {
		limit = 0
	}
	return samples[0].Value.Uint64() - samples[1].Value.Uint64(), limit
}

// memoryCollector reads the runtime when it is asked.
type memoryCollector struct{}

var (
	memoryUsedDesc  = prometheus.NewDesc("stele_memory_used_bytes", "Memory of the process that counts towards its memory limit.", nil, nil)
	memoryLimitDesc = prometheus.NewDesc("stele_memory_limit_bytes", "Memory limit of the process; 0 without one.", nil, nil)
)

func (memoryCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- memoryUsedDesc
	ch <- memoryLimitDesc
}

func (memoryCollector) Collect(ch chan<- prometheus.Metric) {
	used, limit := memoryUse()
	ch <- prometheus.MustNewConstMetric(memoryUsedDesc, prometheus.GaugeValue, float64(used))
	ch <- prometheus.MustNewConstMetric(memoryLimitDesc, prometheus.GaugeValue, float64(limit))
}
