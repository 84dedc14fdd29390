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

func TestTableShowsSteleByEachPeer(t *testing.T) {
	r := &report{Peers: []string{"stele", "etcd", "echo"}, Details: map[string][]string{}}
	sec := section{"Things", "A note."}
	ms := time.Millisecond
	r.rate(sec, "fast", peer.Stele{}, sample{30_000, 1 * ms, 9 * ms}, "", nil)
	r.rate(sec, "fast", peer.Etcd{}, sample{15_000, 2 * ms, 6 * ms}, "unary", nil)
	r.rate(sec, "fast", peer.Echo{}, sample{}, "", errCannot)
	r.latency(sec, "late", peer.Stele{}, sample{p50: 500 * time.Microsecond, p99: 3 * time.Second}, nil)
	r.latency(sec, "late", peer.Etcd{}, sample{p50: 2 * ms, p99: 6 * time.Second}, nil)
	r.size(sec, "big", peer.Stele{}, 3_000_000)
	r.size(sec, "big", peer.Etcd{}, 1_500_000_000)
	r.size(sec, "big", peer.Echo{}, 6_000)
	r.latency(sec, "lost", peer.Stele{}, sample{}, errors.New("it broke"))
	r.latency(sec, "lost", peer.Etcd{}, sample{p50: ms, p99: ms}, nil)
	r.detail(sec, peer.Etcd{}, "was there")

	var b strings.Builder
	r.writeTable(&b, sec)
	want := `
## Things

A note.

|  | stele | etcd | echo | stele / etcd | stele / echo |
| --- | --- | --- | --- | --- | --- |
| fast | 30.0k/s (1.0 ms, 9.0 ms) | 15.0k/s (2.0 ms, 6.0 ms) unary | - | 2.00 (0.50, 1.50) | - |
| late | 500 µs, 3.00 s | 2.0 ms, 6.00 s | - | 0.25, 0.50 | - |
| big | 3 MB | 1.50 GB | 6 kB | 0.00 | 500.00 |
| lost | failed | 1.0 ms, 1.0 ms | - | - | - |

etcd was there

stele, lost: it broke
`
	if b.String() != want {
		t.Errorf("table is\n%s\nnot\n%s", b.String(), want)
	}
	if !r.failed {
		t.Error("a failed measurement is not a failed run")
	}
}

func TestSetHasDifferentKeys(t *testing.T) {
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

func TestValuesAreJSONOfTheSameLength(t *testing.T) {
	rng := newRand(1)
	a, b := randomValue(rng), randomValue(rng)
	if len(a) != valueSize || a[0] != '"' || a[valueSize-1] != '"' || a == b {
		t.Errorf("values are %s and %s", a, b)
	}
}
