package client_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stelehq/stele/client"
	"github.com/stelehq/stele/client/clienttest"
)

const key = "tenantconfig/service-0/setting-0007"

// filled is a server with 10,000 keys.
func filled(b *testing.B) *clienttest.Server {
	b.Helper()
	s := clienttest.Start(b)
	w := open(b, s.Config("acme", "none/"))
	for part := range 10 {
		values := make(map[string]any)
		for i := range 1000 {
			values[fmt.Sprintf("tenantconfig/service-%d/setting-%04d", part, i)] = limits{true, i, fmt.Sprintf("value number %d", i)}
		}
		if _, err := w.Ledger().Commit(b.Context(), client.ChangeSet{Set: values}); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

type limits struct {
	Enabled bool
	Limit   int
	Name    string
}

func BenchmarkGet(b *testing.B) {
	c := open(b, filled(b).Config("acme"))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := c.Get(key); !ok {
			b.Fatal("the key is not there")
		}
	}
}

func BenchmarkValueGet(b *testing.B) {
	c := open(b, filled(b).Config("acme"))
	v := client.Bind(c, key, limits{})
	b.ReportAllocs()
	for b.Loop() {
		if v.Get().Limit != 7 {
			b.Fatal("the value is not there")
		}
	}
}

func BenchmarkAge(b *testing.B) {
	c := open(b, filled(b).Config("acme"))
	b.ReportAllocs()
	for b.Loop() {
		if c.Age() < 0 {
			b.Fatal("the age is negative")
		}
	}
}

// BenchmarkChange measures from the call of Set until OnChange is called, with 10,000
// keys.
func BenchmarkChange(b *testing.B) {
	c := open(b, filled(b).Config("acme"))
	called := make(chan time.Time, 1)
	c.OnChange(key, func(client.Update) { called <- time.Now() })
	var answered, all []time.Duration
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		if _, err := c.Ledger().Set(b.Context(), key, i, ""); err != nil {
			b.Fatal(err)
		}
		done := time.Since(begin)
		answered, all = append(answered, done), append(all, (<-called).Sub(begin))
	}
	slices.Sort(all)
	slices.Sort(answered)
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-us")
	b.ReportMetric(float64(answered[len(answered)/2].Microseconds()), "p50-commit-us")
}

// BenchmarkOpen is from nothing to 10,000 keys in memory.
func BenchmarkOpen(b *testing.B) {
	s := filled(b)
	var took float64
	for b.Loop() {
		before := heap()
		c := open(b, s.Config("acme"))
		took = float64(heap()) - float64(before)
		c.Close()
	}
	b.ReportMetric(took/(1<<20), "MB")
}
