package journal

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stelehq/stele/ledger"
)

// BenchmarkAppend writes records of 300 bytes durably, each caller one after
// the other for a tenant of its own, on 8 shards.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			j := openTest(b, startTest(b, b.TempDir()), Config{})
			record := make([]byte, 300)
			var todo sync.WaitGroup
			b.ResetTimer()
			for c := range callers {
				todo.Go(func() {
					var last ledger.Sequence
					var err error
					tenant := ledger.Tenant(fmt.Sprintf("tenant-%d", c))
					for range (b.N + callers - 1 - c) / callers {
						if last, err = j.Append(context.Background(), tenant, last, record); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			todo.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}
