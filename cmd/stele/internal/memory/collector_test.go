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
	for live, want := range map[uint64]uint64{0: 400, 64 << 20: 400, 128 << 20: 200, 192 << 20: 133, 256 << 20: 100, 4 << 30: 100} {
		if got := percentFor(live); got != want {
			t.Errorf("%d bytes: %d, want %d", live, got, want)
		}
	}
}

// The percentage follows the live heap, up and down, unless GOGC says otherwise.
func TestSet_AdjustsTheCollector(t *testing.T) {
	limit, before := debug.SetMemoryLimit(-1), debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetMemoryLimit(limit); debug.SetGCPercent(before) })
	percent := func() uint64 {
		now := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(now)
		return now[0].Value.Uint64()
	}
	await := func(want uint64) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); percent() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the GC percent is %d, want %d", percent(), want)
			}
			runtime.GC()
		}
	}

	t.Setenv("GOGC", "50") // puts it back
	if _, err := Set(8 << 30); err != nil {
		t.Fatal(err)
	}
	if got := percent(); got != 100 {
		t.Errorf("the GC percent is %d although GOGC is set", got)
	}
	os.Unsetenv("GOGC")
	if _, err := Set(8 << 30); err != nil {
		t.Fatal(err)
	}
	await(mostPercent)
	held := make([]byte, 2*growth)
	await(leastPercent)
	runtime.KeepAlive(held)
	await(mostPercent)
}
