package gateway_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/metadata"
)

// A profile of these says where a call's time goes; scripts/bench compares it
// with that of others.

const benchKeys = 10_000

func benchKey(i int) string { return fmt.Sprintf("tenantconfig/svc-%04d/setting", i) }

func benchmark(b *testing.B) *fixture {
	f := startRecorded(b)
	ctx := f.as(b, "acme", identity.Writer)
	value := `"` + strings.Repeat("x", 254) + `"`
	for from := 0; from < benchKeys; from += 1000 {
		req := &stelev1.CommitRequest{}
		for i := from; i < from+1000; i++ {
			req.Changes = append(req.Changes, &stelev1.Change{Key: benchKey(i), Value: value})
		}
		f.commit(b, ctx, req)
	}
	return f
}

func BenchmarkGet(b *testing.B) { benchmarkGet(b, benchmark(b)) }

// BenchmarkGetHandler is the part of a Get that is this package's and those below it:
// BenchmarkGet without gRPC, its client and the network.
func BenchmarkGetHandler(b *testing.B) {
	f := benchmark(b)
	ctx := f.incoming(b, "acme", identity.Reader)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := f.gateway.HandleGet(ctx, &stelev1.GetRequest{Key: benchKey(rand.IntN(benchKeys))}); err != nil {
				b.Error(err)
			}
		}
	})
}

// incoming is the context of a call as the server gets it.
func (f *fixture) incoming(t testing.TB, tenant ledger.Tenant, roles ...identity.Role) context.Context {
	return metadata.NewIncomingContext(t.Context(), metadata.Pairs(":authority", "stele", "content-type", "application/grpc", "user-agent", "grpc-go",
		"authorization", "Bearer "+f.token(t, identity.Claims{Tenant: tenant, Roles: roles})))
}

// maxGetAllocations is what TestGet_Allocations measured when it was written, and two
// more.
const maxGetAllocations = 12

func TestGet_Allocations(t *testing.T) {
	f := start(t)
	f.commit(t, f.as(t, "acme", identity.Writer), set("tenantconfig/svc/setting", "250"))
	ctx, req := f.incoming(t, "acme", identity.Reader), &stelev1.GetRequest{Key: "tenantconfig/svc/setting"}
	n := testing.AllocsPerRun(1000, func() {
		if size, err := f.gateway.HandleGet(ctx, req); err != nil || size == 0 {
			t.Fatal(size, err)
		}
	})
	if n > maxGetAllocations {
		t.Errorf("a Get allocates %.0f times, more than %d", n, maxGetAllocations)
	}
}

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
			if _, err := f.config.Get(ctx, &stelev1.GetRequest{Key: benchKey(rand.IntN(benchKeys))}); err != nil {
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
			f.commit(b, ctx, set(benchKey(rand.IntN(benchKeys)), value))
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
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			f.commit(b, tenants[rand.IntN(len(tenants))], set(benchKey(rand.IntN(benchKeys)), value))
		}
	})
}

// The additional cost of a secret: to write it encrypted, to mask it, and to reveal it,
// which is recorded.
func BenchmarkSecrets(b *testing.B) {
	f := startSecret(b)
	ctx := f.as(b, "acme", identity.Admin)
	value := `"` + strings.Repeat("x", 254) + `"`
	f.commit(b, ctx, set("open/key", value, "s/key", value))
	get := func(key string, reveal bool) func(*testing.B) {
		return func(b *testing.B) {
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := f.config.Get(ctx, &stelev1.GetRequest{Key: key, Reveal: reveal}); err != nil {
						b.Error(err)
					}
				}
			})
		}
	}
	write := func(key string) func(*testing.B) {
		return func(b *testing.B) {
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					f.commit(b, ctx, set(key, value))
				}
			})
		}
	}
	b.Run("write of none", write("open/key"))
	b.Run("write", write("s/key"))
	b.Run("get of none", get("open/key", false))
	b.Run("get hidden", get("s/key", false))
	b.Run("get revealed", get("s/key", true))
}
