package journal

import (
	"context"
	"fmt"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
)

// BenchmarkAppend writes records durably, one after the other, as a ledger does.
func BenchmarkAppend(b *testing.B) {
	for _, bytes := range []int{300, 16 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", bytes), func(b *testing.B) {
			j := openTest(b, startTest(b, b.TempDir()), Config{})
			record := make([]byte, bytes)
			b.SetBytes(int64(bytes))
			var last ledger.Sequence
			for b.Loop() {
				var err error
				if last, err = j.Append(context.Background(), last, record); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
