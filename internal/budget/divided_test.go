package budget_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelehq/stele/internal/budget"
	"pgregory.net/rapid"
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
		if err := d.Acquire(t.Context(), "globex", 12); err != nil || time.Since(began) > 0 {
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
		d.Release("globex", 12)
		d.Release("acme", 50) // in parts
		d.Release("acme", 20)
		if used := d.Total.Used(); used != 0 {
			t.Errorf("%d bytes are used at the end", used)
		}
	})
}

// However much some owners hold and wait for, in whatever order they have acquired and released it,
// another owner gets a part of the reserve at once, again and again.
func TestDivided_HostileOwnersLeaveReserve(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		owners := rapid.IntRange(1, 8).Draw(r, "owners")
		steps := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) step {
			return step{
				owner: rapid.IntRange(0, owners-1).Draw(r, "owner"), size: shareSize >> rapid.IntRange(0, 12).Draw(r, "size"),
				bounded: rapid.Bool().Draw(r, "bounded"), release: rapid.Bool().Draw(r, "release"), use: rapid.IntRange(0, 100).Draw(r, "use"),
			}
		}), 0, 60).Draw(r, "steps")
		for i := range owners { // as much as they can
			for n := int64(shareSize); n > 0; n /= 2 {
				steps = append(steps, step{owner: i, size: n})
			}
		}
		var err error
		synctest.Test(t, func(t *testing.T) { err = surround(t, owners, steps) })
		if err != nil {
			r.Fatal(err)
		}
	})
}

const shareSize = 1 << 20

// step is what a hostile owner does: it releases a use, if it has one, or acquires one more.
type step struct {
	owner   int
	size    int64
	bounded bool
	release bool
	use     int
}

// surround takes the steps of hostile owners, and returns an error if another owner is not served at
// once then.
func surround(t *testing.T, owners int, steps []step) error {
	d := budget.NewDivided("requests", shareSize)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	held := make([][]int64, owners)
	var uses sync.WaitGroup
	for _, s := range steps {
		owner := fmt.Sprint(s.owner)
		if of := held[s.owner]; s.release && len(of) > 0 {
			i := s.use % len(of)
			n := of[i]
			held[s.owner] = slices.Delete(of, i, i+1) // first: the release starts those that wait
			d.Release(owner, n)
		} else {
			uses.Go(func() {
				acquire := d.AcquireFirst
				if s.bounded {
					acquire = d.Acquire
				}
				if acquire(ctx, owner, s.size) == nil {
					mu.Lock()
					defer mu.Unlock()
					held[s.owner] = append(held[s.owner], s.size)
				}
			})
		}
		synctest.Wait()
	}
	var failed error
	for range 2 {
		began := time.Now()
		n := int64(shareSize) / 8 >> owners
		if err := d.Acquire(ctx, "globex", n); err != nil || time.Since(began) > 0 {
			failed = fmt.Errorf("%d bytes next to %d owners who have %d of %d: %w after %s", n, owners, d.Total.Used(), shareSize, err, time.Since(began))
			break
		}
		d.Release("globex", n)
	}
	cancel()
	uses.Wait()
	for i := range owners {
		for _, n := range held[i] {
			d.Release(fmt.Sprint(i), n)
		}
	}
	if used := d.Total.Used(); failed == nil && used != 0 {
		return fmt.Errorf("%d bytes are used at the end", used)
	}
	return failed
}

// Released bytes go to the owner that holds the least, also if another has waited for longer.
func TestDivided_LeastFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := budget.NewDivided("requests", 100)
		got := make(chan string)
		acquire := func(owner string, n int64) {
			go func() {
				if d.AcquireFirst(t.Context(), owner, n) == nil {
					got <- owner
				}
			}()
			synctest.Wait()
		}
		acquire("acme", 70)
		acquire("acme", 20)
		acquire("globex", 10) // of the reserve
		acquire("globex", 20)
		<-got
		<-got
		d.Release("acme", 30)
		if owner := <-got; owner != "globex" {
			t.Errorf("%s is first", owner)
		}
		d.Release("acme", 40)
		if owner := <-got; owner != "acme" {
			t.Errorf("%s is second", owner)
		}
	})
}

// Small uses do not overtake a large one permanently, except the uses of owners that hold nothing.
func TestDivided_LargeUseIsNotOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := budget.NewDivided("requests", 100)
		if err := errors.Join(d.Acquire(t.Context(), "acme", 10), d.Acquire(t.Context(), "acme", 10)); err != nil {
			t.Fatal(err)
		}
		large, small := make(chan error, 1), make(chan error, 1)
		go func() { large <- d.AcquireFirst(t.Context(), "initech", 60) }()
		synctest.Wait()
		go func() { small <- d.AcquireFirst(t.Context(), "acme", 5) }()
		synctest.Wait()
		if used := d.Total.Used(); used != 20 {
			t.Errorf("%d bytes are used while a large use waits", used)
		}
		if err := d.Acquire(t.Context(), "globex", 12); err != nil {
			t.Errorf("an owner that holds nothing: %v", err)
		}
		d.Release("globex", 12)
		d.Release("acme", 10)
		if err := <-large; err != nil {
			t.Errorf("the large use: %v", err)
		}
		if err := <-small; err != nil {
			t.Errorf("the small one after it: %v", err)
		}
	})
}

// Owners whose small uses overlap permanently, each of the reserve, do not keep a use waiting that needs
// all that owners have together.
func TestDivided_ReserveTakesNothingFromLargeUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := budget.NewDivided("requests", 100)
		if err := d.Acquire(t.Context(), "acme", 10); err != nil {
			t.Fatal(err)
		}
		large := make(chan error, 1)
		go func() { large <- d.AcquireFirst(t.Context(), "initech", 75) }()
		synctest.Wait()
		small := func(owner string) {
			if err := d.Acquire(t.Context(), owner, 5); err != nil {
				t.Fatal(err)
			}
		}
		small("globex")
		d.Release("acme", 10)
		for range 100 {
			small("hooli")
			d.Release("globex", 5)
			small("globex")
			d.Release("hooli", 5)
		}
		synctest.Wait()
		select {
		case err := <-large:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("the large use waits")
		}
	})
}

// A use that is larger than all that owners have together takes that and gives it back.
func TestDivided_LargerThanAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := budget.NewDivided("requests", 100)
		if err := d.Acquire(t.Context(), "acme", 1000); err != nil || d.Total.Used() != 75 {
			t.Fatalf("%d bytes are used: %v", d.Total.Used(), err)
		}
		var exhausted *budget.ExhaustedError
		for owner, n := range map[string]int64{"acme": 1, "globex": 13} {
			if err := d.Acquire(t.Context(), owner, n); !errors.As(err, &exhausted) || exhausted.Share != "requests" {
				t.Errorf("%d bytes of %s: %v", n, owner, err)
			}
		}
		if n := d.Total.Refused(); n != 2 {
			t.Errorf("%d refusals are counted, want 2", n)
		}
		if err := d.Acquire(t.Context(), "globex", 12); err != nil {
			t.Errorf("12 bytes of another: %v", err)
		}
		d.Release("globex", 12)
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
