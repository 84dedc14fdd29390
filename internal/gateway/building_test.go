package gateway

import (
	"context"
	"errors"
	"testing"

	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
)

// A small answer takes nothing of the share. One that turns out to be large ends, waits for as much
// memory as it can become, and is read again.
func TestBuild_TakesMemoryOfLargeAnswers(t *testing.T) {
	const most = 8 << 20
	for name, test := range map[string]struct {
		bytes []int
		used  []int64 // of the share, when each reading begins
	}{
		"small": {[]int{largeAnswer - 1}, []int64{0}},
		"large": {[]int{largeAnswer - 1, 1, 1 << 20}, []int64{0, most}},
	} {
		t.Run(name, func(t *testing.T) {
			share := budget.NewDivided("requests", 20<<20)
			g := &Gateway{}
			g.cfg.Budget = &budget.Budget{Requests: share}
			reading, whole := 0, false
			err := configService{g: g}.build(asAcme(t), most, func(b *building) error {
				if used := share.Total.Used(); used != test.used[reading] {
					t.Errorf("reading %d begins with %d bytes of the share, want %d", reading+1, used, test.used[reading])
				}
				reading++
				for _, n := range test.bytes {
					if err := b.add(n); err != nil {
						return err
					}
				}
				whole = true
				return nil
			})
			if err != nil || !whole || reading != len(test.used) {
				t.Errorf("after %d readings, want %d: %v", reading, len(test.used), err)
			}
			if share.Total.Used() != 0 {
				t.Errorf("%d bytes are used after the end", share.Total.Used())
			}
		})
	}
}

// An answer that gets no memory is not read again.
func TestBuild_WithoutMemory(t *testing.T) {
	share := budget.NewDivided("requests", 1<<20)
	g := &Gateway{}
	g.cfg.Budget = &budget.Budget{Requests: share}
	if !share.Total.TryAcquire(share.Size()) {
		t.Fatal("an empty share has no room")
	}
	readings := 0
	err := configService{g: g}.build(asAcme(t), 1<<20, func(b *building) error {
		readings++
		return b.add(largeAnswer)
	})
	if exhausted := new(budget.ExhaustedError); !errors.As(err, &exhausted) || readings != 1 {
		t.Errorf("after %d readings: %v", readings, err)
	}
}

// asAcme is the context of a call by a reader of the tenant acme.
func asAcme(t *testing.T) context.Context {
	return policy.WithCaller(t.Context(), policy.Caller{Principal: &identity.Principal{Subject: "ann", Tenant: "acme"}})
}
