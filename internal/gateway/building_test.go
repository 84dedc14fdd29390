package gateway

import (
	"context"
	"errors"
	"testing"

	"github.com/stelehq/stele/internal/budget"
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
			reading, whole := 0, false
			err := configService{}.build(asAcme(t, share), most, func(b *building) error {
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
	if !share.Total.TryAcquire(share.Size()) {
		t.Fatal("an empty share has no room")
	}
	readings := 0
	err := configService{}.build(asAcme(t, share), 1<<20, func(b *building) error {
		readings++
		return b.add(largeAnswer)
	})
	if exhausted := new(budget.ExhaustedError); !errors.As(err, &exhausted) || readings != 1 {
		t.Errorf("after %d readings: %v", readings, err)
	}
}

// A call that holds memory for its request gets memory of the reserve for its answer, next to a tenant
// that holds all the rest: it gives back what it holds before.
func TestBuild_LargeRequestAndAnswerOfReserve(t *testing.T) {
	share := budget.NewDivided("requests", 80<<20)
	if err := share.Acquire(t.Context(), "globex", share.Size()); err != nil {
		t.Fatal(err)
	}
	ctx := asAcme(t, share)
	memory := &ctx.Value(authorizedKey{}).(*authorizedCall).memory
	if err := memory.grow(ctx, 2<<20, false); err != nil {
		t.Fatal(err)
	}
	err := configService{}.build(ctx, 8<<20, func(b *building) error {
		if b.reserved && memory.size != 10<<20 {
			t.Errorf("the call holds %d bytes", memory.size)
		}
		return b.add(largeAnswer)
	})
	if err != nil || memory.size != 2<<20 {
		t.Errorf("it holds %d bytes after its answer: %v", memory.size, err)
	}
	memory.release()
	if used := share.Total.Used(); used != share.Size() {
		t.Errorf("%d bytes are used at the end", used)
	}
}

// asAcme is the context of a call for the tenant acme, which holds no memory.
func asAcme(t *testing.T, share *budget.Divided) context.Context {
	return &authorizedCall{Context: t.Context(), memory: callMemory{share: share, owner: "acme"}}
}
