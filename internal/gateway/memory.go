package gateway

import (
	"context"
	"errors"
	"math"
	runtimemetrics "runtime/metrics"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway/policy"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
)

// The memory that a request takes until it is answered is estimated: each of its bytes is in
// the message, in the change set, in the encoded commit and in the record, and each change has
// entries in a few tables.
const (
	// largeRequest is the size, in bytes, from which a request needs memory of the share.
	// Smaller ones are bounded by the number of calls.
	largeRequest  = 32 << 10
	bytesPerByte  = 4
	bytesPerEntry = 700
)

// reserve waits for the memory that a request takes. release gives it back.
func (g *Gateway) reserve(ctx context.Context, req proto.Message) (release func(), err error) {
	size := int64(proto.Size(req))
	if size < largeRequest {
		return func() {}, nil
	}
	size *= bytesPerByte
	if r, ok := req.(interface{ GetChanges() []*stelev1.Change }); ok {
		size += int64(len(r.GetChanges())) * bytesPerEntry
	}
	return g.acquire(ctx, size)
}

// reserveAnswer waits for the memory of an answer before it is encoded. release gives it
// back.
func (g *Gateway) reserveAnswer(ctx context.Context, size int64) (release func(), err error) {
	if size < largeAnswer {
		return func() {}, nil
	}
	return g.acquire(ctx, size)
}

// building counts the bytes of an answer while it is built.
type building struct {
	size     int64
	reserved bool // the answer has memory for its largest size
}

// errLarge ends the building of an answer that needs memory.
var errLarge = errors.New("the answer needs memory")

// add counts bytes of the answer.
func (b *building) add(bytes int) error {
	if b.size += int64(bytes); b.size >= largeAnswer && !b.reserved {
		return errLarge
	}
	return nil
}

// build calls read to build an answer that can become as large as most bytes. An answer that
// turns out to be large waits for as much memory and is then read again: while it waits it holds
// neither a view, which keeps a tail of the replica in memory, nor a value.
func (s configService) build(ctx context.Context, most int, read func(*building) error) error {
	if err := read(&building{}); !errors.Is(err, errLarge) {
		return err
	}
	share, owner := s.g.cfg.Budget.Requests, policy.CallerOf(ctx).Owner()
	if err := share.AcquireFirst(ctx, owner, int64(most)); err != nil {
		return err
	}
	defer share.Release(owner, int64(most))
	return read(&building{reserved: true})
}

// acquire waits for memory of the requests' share.
func (g *Gateway) acquire(ctx context.Context, size int64) (release func(), err error) {
	share, owner := g.cfg.Budget.Requests, policy.CallerOf(ctx).Owner()
	if err := share.Acquire(ctx, owner, size); err != nil {
		return nil, err
	}
	return func() { share.Release(owner, size) }, nil
}

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

// memoryCollector reads the runtime and the shares of the budget when it is asked.
type memoryCollector struct{ shares []*budget.Share }

var (
	memoryUsedDesc  = prometheus.NewDesc("stele_memory_used_bytes", "Memory of the process that counts towards its memory limit.", nil, nil)
	memoryLimitDesc = prometheus.NewDesc("stele_memory_limit_bytes", "Memory limit of the process; 0 without one.", nil, nil)
	shareUsedDesc   = prometheus.NewDesc("stele_memory_share_used_bytes", "Memory that is in use of the share for requests or answers.", []string{"share"}, nil)
	shareSizeDesc   = prometheus.NewDesc("stele_memory_share_bytes", "Size of the share for requests or answers.", []string{"share"}, nil)
	shareRefuseDesc = prometheus.NewDesc("stele_memory_share_refused_total", "Requests, answers and watch events that did not fit into their share.", []string{"share"}, nil)
)

func (c memoryCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- memoryUsedDesc
	ch <- memoryLimitDesc
	ch <- shareUsedDesc
	ch <- shareSizeDesc
	ch <- shareRefuseDesc
}

func (c memoryCollector) Collect(ch chan<- prometheus.Metric) {
	used, limit := memoryUse()
	ch <- prometheus.MustNewConstMetric(memoryUsedDesc, prometheus.GaugeValue, float64(used))
	ch <- prometheus.MustNewConstMetric(memoryLimitDesc, prometheus.GaugeValue, float64(limit))
	for _, s := range c.shares {
		ch <- prometheus.MustNewConstMetric(shareUsedDesc, prometheus.GaugeValue, float64(s.Used()), s.Name())
		ch <- prometheus.MustNewConstMetric(shareSizeDesc, prometheus.GaugeValue, float64(s.Size()), s.Name())
		ch <- prometheus.MustNewConstMetric(shareRefuseDesc, prometheus.CounterValue, float64(s.Refused()), s.Name())
	}
}
