package memory

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPercentFor(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 64 << 20: 400, 128 << 20: 200, 192 << 20: 133, 256 << 20: 100, 4 << 30: 100} {
		if got := percentFor(live); got != want {
			t.Errorf("%d bytes: %d, want %d", live, got, want)
		}
	}
}

// The percentage follows the live heap, up and down, unless GOGC says otherwise.
func TestSet_AdjustsTheCollector(t *testing.T) {
	t.Setenv("GOGC", "") // puts it back
	os.Unsetenv("GOGC")
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	if _, err := Set(8 << 30); err != nil {
		t.Fatal(err)
	}
	await := func(want uint64) {
		t.Helper()
		percent := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			runtime.GC()
			metrics.Read(percent)
			if got := percent[0].Value.Uint64(); got == want {
				return
			} else if time.Now().After(deadline) {
				t.Fatalf("the GC percent is %d, want %d", got, want)
			}
		}
	}
	await(mostPercent)
	held := make([]byte, 2*growth)
	await(leastPercent)
	runtime.KeepAlive(held)
	await(mostPercent)
}
