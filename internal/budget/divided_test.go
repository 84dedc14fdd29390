package budget_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelehq/stele/internal/budget"
)

// An owner with three quarters of a share waits for itself, and does not keep others waiting.
func TestDivided_OwnersLeaveSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := budget.NewDivided("requests", 100)
		ctx, cancel := context.WithCancel(t.Context())
		waiting := make(chan error)
		for range 50 {
			go func() { waiting <- d.AcquireFirst(ctx, "acme", 10) }()
		}
		for range 7 {
			if err := <-waiting; err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if used := d.Total.Used(); used != 70 {
			t.Errorf("a tenant alone has %d of 100", used)
		}
		began := time.Now()
		if err := d.Acquire(t.Context(), "globex", 30); err != nil || time.Since(began) > 0 {
			t.Errorf("after %s, another tenant: %v", time.Since(began), err)
		}
		d.Release("acme", 10)
		if err := <-waiting; err != nil {
			t.Errorf("the next of the tenant: %v", err)
		}
		cancel()
		for range 42 {
			if err := <-waiting; !errors.Is(err, context.Canceled) {
				t.Errorf("a canceled wait: %v", err)
			}
		}
		d.Release("globex", 30)
		d.Release("acme", 60) // in parts
		d.Release("acme", 10)
		if used := d.Total.Used(); used != 0 {
			t.Errorf("%d bytes are used at the end", used)
		}
	})
}

// A use that is larger than an owner's part, and than the share, takes the part and gives it back. A refusal by
// the part counts for the share.
func TestDivided_LargerThanAPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := budget.NewDivided("requests", 100)
		if err := d.Acquire(t.Context(), "acme", 1000); err != nil || d.Total.Used() != 75 {
			t.Fatalf("%d bytes are used: %v", d.Total.Used(), err)
		}
		var exhausted *budget.ExhaustedError
		if err := d.Acquire(t.Context(), "acme", 1); !errors.As(err, &exhausted) || exhausted.Share != "requests of one tenant" {
			t.Errorf("one byte more: %v", err)
		}
		if err := d.Acquire(t.Context(), "globex", 30); !errors.As(err, &exhausted) || exhausted.Share != "requests" {
			t.Errorf("30 bytes of another: %v", err)
		}
		if n := d.Total.Refused(); n != 2 {
			t.Errorf("%d refusals are counted, want 2", n)
		}
		if err := d.Acquire(t.Context(), "globex", 25); err != nil {
			t.Errorf("25 bytes of another: %v", err)
		}
		d.Release("globex", 25)
		d.Release("acme", 1000)
		for _, owner := range []string{"acme", "globex"} {
			if err := d.Acquire(t.Context(), owner, 75); err != nil {
				t.Errorf("%s after the end: %v", owner, err)
			}
			d.Release(owner, 75)
		}
		if used := d.Total.Used(); used != 0 {
			t.Errorf("%d bytes are used at the end", used)
		}
	})
}
