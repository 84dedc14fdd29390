package gateway_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stelehq/stele/gateway/identity"
	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// A profile of these says where a call's time goes; scripts/bench compares it
// with that of others.

const benchKeys = 10_000

func benchmark(b *testing.B) *fixture {
	f := startRecorded(b)
	ctx := f.as(b, "acme", identity.Writer)
	value := `"` + strings.Repeat("x", 254) + `"`
	for from := 0; from < benchKeys; from += 1000 {
		req := &stelev1.CommitRequest{}
		for i := from; i < from+1000; i++ {
			req.Changes = append(req.Changes, &stelev1.Change{Key: fmt.Sprintf("tenantconfig/svc-%04d/setting", i), Value: value})
		}
		f.commit(b, ctx, req)
	}
	return f
}

func BenchmarkGet(b *testing.B) { benchmarkGet(b, benchmark(b)) }

func BenchmarkGetRecorded(b *testing.B) {
	f := benchmark(b)
	f.setPolicy(b, "acme", `{"record":["tenantconfig/"]}`)
	benchmarkGet(b, f)
}

func benchmarkGet(b *testing.B, f *fixture) {
	ctx := f.as(b, "acme", identity.Reader)
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := f.config.Get(ctx, &stelev1.GetRequest{Key: fmt.Sprintf("tenantconfig/svc-%04d/setting", rand.IntN(benchKeys))}); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkCommit(b *testing.B) {
	f := benchmark(b)
	ctx := f.as(b, "acme", identity.Writer)
	value := `"` + strings.Repeat("x", 254) + `"`
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			f.commit(b, ctx, set(fmt.Sprintf("tenantconfig/svc-%04d/setting", rand.IntN(benchKeys)), value))
		}
	})
}

func BenchmarkCommitManyTenants(b *testing.B) {
	f := start(b)
	var tenants []context.Context
	for i := range 100 {
		tenants = append(tenants, f.as(b, ledger.Tenant(fmt.Sprint("t", i)), identity.Writer))
	}
	value := `"` + strings.Repeat("x", 254) + `"`
	n, _ := strconv.Atoi(os.Getenv("PAR"))
	b.SetParallelism(n)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			f.commit(b, tenants[rand.IntN(len(tenants))], set(fmt.Sprintf("tenantconfig/svc-%04d/setting", rand.IntN(benchKeys)), value))
		}
	})
}
