package gateway

import (
	"testing"

	"github.com/stelehq/stele/internal/budget"
)

// A small answer takes nothing of the share; one that turns out to be large takes as much as it
// can become, before it has it.
func TestBuilding_TakesMemoryOfLargeAnswers(t *testing.T) {
	share := budget.NewDivided("requests", 20<<20)
	b := &building{share: share, most: 8 << 20}
	for _, step := range []struct {
		bytes int
		used  int64
	}{{largeAnswer - 1, 0}, {1, 8 << 20}, {1 << 20, 8 << 20}} {
		if err := b.add(t.Context(), step.bytes); err != nil {
			t.Fatal(err)
		}
		if share.Total.Used() != step.used {
			t.Errorf("with %d bytes, %d of the share are used, want %d", b.size, share.Total.Used(), step.used)
		}
	}
	b.done()
	if share.Total.Used() != 0 {
		t.Errorf("%d bytes are used after the end", share.Total.Used())
	}
}
