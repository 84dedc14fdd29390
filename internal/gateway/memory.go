package gateway

import (
	"context"
	"errors"
	"math"
	runtimemetrics "runtime/metrics"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stelehq/stele/internal/budget"
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

// memoryOf estimates the memory that a request takes until it is answered, in bytes.
func memoryOf(req proto.Message) int64 {
	size := int64(proto.Size(req))
	if size < largeRequest {
		return 0
	}
	size *= bytesPerByte
	if r, ok := req.(interface{ GetChanges() []*stelev1.Change }); ok {
		size += int64(len(r.GetChanges())) * bytesPerEntry
	}
	return size
}

// callMemory is the memory of the requests' share that a call holds, for its request and its answer.
type callMemory struct {
	share *budget.Divided
	owner string
	size  int64
}

func (g *Gateway) noMemory(c Caller) callMemory {
	return callMemory{share: g.cfg.Budget.Requests, owner: c.Owner()}
}

// grow waits for n bytes more. The bytes that the call holds are given back before, and acquired again with
// them: the reserve is for owners that hold nothing, and calls that hold some while they wait for
// more could wait for each other. Any number of first calls, which have nothing large yet, may wait.
func (m *callMemory) grow(ctx context.Context, n int64, first bool) error {
	if n == 0 {
		return nil
	}
	acquire, size := m.share.Acquire, m.size+n
	if first {
		acquire = m.share.AcquireFirst
	}
	m.release()
	if err := acquire(ctx, m.owner, size); err != nil {
		return err
	}
	m.size = min(size, m.share.Size())
	return nil
}

// shrink gives n bytes back, or what there is.
func (m *callMemory) shrink(n int64) {
	if n = min(n, m.size); n > 0 {
		m.share.Release(m.owner, n)
		m.size -= n
	}
}

// release gives all back.
func (m *callMemory) release() { m.shrink(m.size) }

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
	memory := &ctx.Value(authorizedKey{}).(*authorizedCall).memory
	if err := memory.grow(ctx, int64(most), memory.size == 0); err != nil {
		return err
	}
	defer memory.shrink(int64(most))
	return read(&building{reserved: true})
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
