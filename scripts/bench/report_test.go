package main

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/scripts/bench/peer"
)

func TestTable_DividesSteleByEachPeer(t *testing.T) {
	r := newReport([]string{"stele", "etcd", "echo"})
	sec := section{"Things", "A note."}
	ms := time.Millisecond
	r.rate(sec, "fast", peer.Stele{}, sample{rate: 30_000, p50: 1 * ms, p99: 9 * ms}, "", nil)
	r.rate(sec, "fast", peer.Etcd{}, sample{rate: 15_000, p50: 2 * ms, p99: 6 * ms}, "unary", nil)
	r.rate(sec, "fast", peer.Echo{}, sample{}, "", errCannot)
	r.latency(sec, "late", peer.Stele{}, sample{p50: 500 * time.Microsecond, p99: 3 * time.Second}, nil)
	r.latency(sec, "late", peer.Etcd{}, sample{p50: 2 * ms, p99: 6 * time.Second}, nil)
	r.size(sec, "big", peer.Stele{}, 3_000_000)
	r.size(sec, "big", peer.Etcd{}, 1_500_000_000)
	r.size(sec, "big", peer.Echo{}, 6_000)
	r.latency(sec, "lost", peer.Stele{}, sample{}, errors.New("it broke"))
	r.latency(sec, "lost", peer.Etcd{}, sample{p50: ms, p99: ms}, nil)
	r.detail(sec, peer.Etcd{}, "ran")

	want := `
## Things

A note.

|  | stele | etcd | echo | stele / etcd | stele / echo |
| --- | --- | --- | --- | --- | --- |
| fast | 30.0k/s (1.0 ms, 9.0 ms) | 15.0k/s (2.0 ms, 6.0 ms) unary | - | 2.00 (0.50, 1.50) | - |
| late | 500 µs, 3.00 s | 2.0 ms, 6.00 s | - | 0.25, 0.50 | - |
| big | 3 MB | 1.50 GB | 6 kB | 0.00 | 500.00 |
| lost | failed | 1.0 ms, 1.0 ms | - | - | - |

etcd ran

stele, lost: it broke
`
	compareTable(t, r, sec, want)
	if !r.failed {
		t.Error("a failed measurement is not a failed run")
	}
}

func compareTable(t *testing.T, r *report, sec section, want string) {
	t.Helper()
	var b strings.Builder
	r.writeTable(&b, sec)
	if b.String() != want {
		t.Errorf("table is\n%s\nwant\n%s", b.String(), want)
	}
}

func TestTable_ShowsMediansOfRounds(t *testing.T) {
	r := newReport([]string{"stele", "etcd"})
	sec := section{title: "Rounds"}
	ms := time.Millisecond
	used := func(part float64) *limits {
		return &limits{Flushes: 1500, Flushing: 0.8, CPU: []cpuShare{{"stele", part}, {loadProcess, 0.1}, {otherProcess, 0.01}}}
	}
	// The ratios are 2, 1 and 4: their median is not the ratio of the medians.
	for round, rates := range [][2]float64{{200, 100}, {300, 300}, {800, 200}} {
		r.round = round
		r.rate(sec, "fast", peer.SteleServe{Servers: 3}, sample{rate: rates[0], p50: ms, p99: 2 * ms, limits: used(rates[0] / 1000)}, "", nil)
		r.rate(sec, "fast", peer.Etcd{Servers: 3}, sample{rate: rates[1], p50: ms, p99: 4 * ms}, "", nil)
	}
	compareTable(t, r, sec, `
## Rounds

|  | stele3 | etcd3 | stele3 / etcd3 |
| --- | --- | --- | --- |
| fast | 300/s (1.0 ms, 2.0 ms) | 200/s (1.0 ms, 4.0 ms) | 2.00 (1.00, 0.50) |

The ratio of a single round differs from its median by at most 100 %.

What limits it:

|  | stele3 |
| --- | --- |
| fast | disk: stele 30 + load 10 %, 1.5k flushes/s 80 % |
`)
}

func TestTable_DividesByABaseline(t *testing.T) {
	r := newReport(nil)
	sec := section{title: "Processes"}
	r.baselines[sec.title] = ledgerColumn(1)
	r.rate(sec, "one", ledgerColumn(2), sample{rate: 300}, "0.45 to 0.55", nil)
	r.rate(sec, "one", ledgerColumn(1), sample{rate: 200}, "", nil)
	compareTable(t, r, sec, `
## Processes

|  | 2 processes | 1 process | 2 processes / 1 process |
| --- | --- | --- | --- |
| one | 300/s 0.45 to 0.55 | 200/s | 1.50 |
`)
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		numbers []float64
		want    float64
	}{{[]float64{3}, 3}, {[]float64{4, 2}, 3}, {[]float64{9, 1, 5}, 5}} {
		if got := median(tt.numbers); got != tt.want {
			t.Errorf("median of %v is %v, want %v", tt.numbers, got, tt.want)
		}
	}
}

func TestLimits_NamesWhatIsUsedUp(t *testing.T) {
	for _, tt := range []struct {
		limits limits
		want   string
	}{
		{limits{Flushes: -1, CPU: []cpuShare{{"etcd", 0.5}, {loadProcess, 0.42}}}, "cpu: etcd 50 + load 42 %"},
		{limits{CPU: []cpuShare{{"etcd", 0.1}, {otherProcess, 0.05}}}, "latency: etcd 10 %"},
		{limits{CPU: []cpuShare{{"etcd", 0.1}, {otherProcess, 0.2}}}, "disturbed: etcd 10 + other 20 %"},
		{limits{CPU: []cpuShare{{"etcd", 0.4}, {otherProcess, 0.6}}}, "disturbed: etcd 40 + other 60 %"},
		{limits{Flushes: 900, Flushing: 1.4, CPU: []cpuShare{{"a", 0.5}, {"b", 0.45}}}, "cpu, disk: a 50 + b 45 %, 900 flushes/s 100 %"},
	} {
		if got := tt.limits.text(); got != tt.want {
			t.Errorf("limits are %q, want %q", got, tt.want)
		}
	}
}

func TestSharesText(t *testing.T) {
	if got := sharesText([]int64{30, 50, 20}); got != "0.20 to 0.50" {
		t.Errorf("shares are %q", got)
	}
}

func TestReadDisk_ReadsTheDiskOfADirectory(t *testing.T) {
	c, err := readDisk(diskStat(t.TempDir()))
	if err != nil || c.flushes < 0 || c.flushing < 0 {
		t.Errorf("counters are %+v, %v", c, err)
	}
}

func TestDataset_SetHasDifferentKeys(t *testing.T) {
	for _, keys := range []int{setSize, 1000, 100_000} {
		d := newDataset(keys, 1)
		rng := rand.New(rand.NewPCG(1, 1))
		for range 100 {
			set := d.set(rng)
			slices.Sort(set)
			if n := len(slices.Compact(set)); n != setSize {
				t.Fatalf("of %d keys, a set has %d different ones, not %d", keys, n, setSize)
			}
		}
	}
}

func TestRandomValue_IsJSONOfTheSameLength(t *testing.T) {
	rng := newRand(1)
	a, b := randomValue(rng), randomValue(rng)
	if len(a) != valueSize || a[0] != '"' || a[valueSize-1] != '"' || a == b {
		t.Errorf("values are %s and %s", a, b)
	}
}
