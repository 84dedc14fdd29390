package bases_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/bases"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func set(tb testing.TB, n *ledgertest.Node, t ledger.Tenant, key ledger.Key, value string) ledger.Result {
	tb.Helper()
	got, err := n.Ledger.Commit(context.Background(), t, ledger.ChangeSet{Author: "ann", Message: "because", Changes: []ledger.Change{{Key: key, Value: ledger.Value(value)}}})
	if err != nil {
		tb.Fatal(err)
	}
	return got
}

func follow(tb testing.TB, n *ledgertest.Node, t, base ledger.Tenant) {
	tb.Helper()
	set(tb, n, t, ledger.BasesKey, string(ledger.BasesValue([]ledger.Base{{Tenant: base, Revision: 1, Follow: true}})))
}

// waitPins waits until all tenants have the base's head.
func waitPins(tb testing.TB, r *replica.Replica, base ledger.Tenant, tenants []ledger.Tenant) {
	tb.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		behind := 0
		for _, t := range tenants {
			if r.Bases(t)[0].Revision != r.Head(base).Revision {
				behind++
			}
		}
		if behind == 0 {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%d of %d pins are behind", behind, len(tenants))
		}
	}
}

// moves are the commits that moved the tenant's pin, by the base's revision.
func moves(tb testing.TB, r *replica.Replica, t ledger.Tenant) map[ledger.Revision]int {
	tb.Helper()
	v, err := r.View(t, replica.At{})
	if err != nil {
		tb.Fatal(err)
	}
	defer v.Close()
	count := make(map[ledger.Revision]int)
	for rev := ledger.Revision(1); rev <= v.State().Head; rev++ {
		c, err := v.Commit(rev)
		if err != nil {
			tb.Fatal(err)
		}
		if o, ok := c.Origin.(*ledger.BaseOrigin); ok {
			count[o.Revision]++
		}
	}
	return count
}

// TestMover_EveryTenantFollows writes to a base while two processes move the pins of 50
// tenants: each tenant gets the last revision, and none twice.
func TestMover_EveryTenantFollows(t *testing.T) {
	s := ledgertest.Server(t)
	a, b := ledgertest.Start(t, s, ledgertest.Config{}), ledgertest.Start(t, s, ledgertest.Config{})
	for _, n := range []*ledgertest.Node{a, b} {
		m := bases.Start(n.Replica, n.Ledger, slog.New(slog.DiscardHandler))
		t.Cleanup(m.Close)
	}
	set(t, a, "defaults", "c/timeout", `1`)
	var tenants []ledger.Tenant
	for i := range 50 {
		tenants = append(tenants, ledger.Tenant(fmt.Sprintf("t%02d", i)))
		follow(t, a, tenants[i], "defaults")
	}
	for i := range 10 {
		set(t, a, "defaults", "c/timeout", fmt.Sprint(i+2))
		if i%3 == 0 {
			waitPins(t, a.Replica, "defaults", tenants)
		}
	}
	waitPins(t, a.Replica, "defaults", tenants)
	for _, tenant := range tenants {
		for rev, n := range moves(t, a.Replica, tenant) {
			if n != 1 {
				t.Errorf("%s was moved to %s %d times", tenant, rev, n)
			}
		}
		v, err := a.Replica.View(tenant, replica.At{})
		if err != nil {
			t.Fatal(err)
		}
		e, _, err := v.Get("c/timeout")
		v.Close()
		if err != nil || e.Value != "11" || e.Base != (ledger.Source{Tenant: "defaults", Revision: 11}) {
			t.Errorf("%s has %+v, %v", tenant, e, err)
		}
	}
}

// TestMover_RolledBackPinStays rolls a tenant back to before its base moved: the pin stays
// there, also when another process starts, until the next commit of the base.
func TestMover_RolledBackPinStays(t *testing.T) {
	s := ledgertest.Server(t)
	n := ledgertest.Start(t, s, ledgertest.Config{})
	set(t, n, "defaults", "c/timeout", `1`)
	follow(t, n, "acme", "defaults")
	log := slog.New(slog.DiscardHandler)
	m := bases.Start(n.Replica, n.Ledger, log)
	set(t, n, "defaults", "c/timeout", `2`)
	waitPins(t, n.Replica, "defaults", []ledger.Tenant{"acme"})
	if _, err := n.Ledger.Rollback(context.Background(), "acme", ledger.Rollback{Request: ledger.Request{Author: "ann"}, To: 1}); err != nil {
		t.Fatal(err)
	}
	m.Close()
	// A mover that starts afterwards tries once, and finds that the revision was delivered.
	tried := &counting{Ledger: n.Ledger}
	m = bases.Start(n.Replica, tried, log)
	t.Cleanup(m.Close)
	tried.wait(t, 1)
	if got := n.Replica.Bases("acme")[0].Revision; got != 1 {
		t.Errorf("the pin moved from @1 to %s", got)
	}
	set(t, n, "defaults", "c/timeout", `3`)
	waitPins(t, n.Replica, "defaults", []ledger.Tenant{"acme"})
	if got := tried.wait(t, 2); got != 2 {
		t.Errorf("%d attempts, want 2", got)
	}
}

// counting counts the finished commits.
type counting struct {
	bases.Ledger
	mu sync.Mutex // guards n
	n  int
}

func (c *counting) Commit(ctx context.Context, t ledger.Tenant, cs ledger.ChangeSet) (ledger.Result, error) {
	got, err := c.Ledger.Commit(ctx, t, cs)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return got, err
}

func (c *counting) wait(tb testing.TB, n int) int {
	tb.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		got := c.n
		c.mu.Unlock()
		if got >= n {
			return got
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%d attempts to move a pin, want %d", got, n)
		}
	}
}

// failing loses the outcome of every third commit, as a process that is killed does.
type failing struct {
	bases.Ledger
	mu sync.Mutex // guards n
	n  int
}

func (f *failing) Commit(ctx context.Context, t ledger.Tenant, cs ledger.ChangeSet) (ledger.Result, error) {
	f.mu.Lock()
	f.n++
	n := f.n
	f.mu.Unlock()
	switch n % 3 {
	case 0:
		return ledger.Result{}, errors.New("killed before the commit")
	case 1:
		_, err := f.Ledger.Commit(ctx, t, cs)
		return ledger.Result{}, errors.Join(errors.New("killed after the commit"), err)
	}
	return f.Ledger.Commit(ctx, t, cs)
}

// TestMover_ExactlyOnceAcrossFailures fails two of three moves, before or after they are
// written.
func TestMover_ExactlyOnceAcrossFailures(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	set(t, n, "defaults", "c/timeout", `1`)
	var tenants []ledger.Tenant
	for i := range 20 {
		tenants = append(tenants, ledger.Tenant(fmt.Sprintf("t%02d", i)))
		follow(t, n, tenants[i], "defaults")
	}
	m := bases.Start(n.Replica, &failing{Ledger: n.Ledger}, slog.New(slog.DiscardHandler))
	t.Cleanup(m.Close)
	for i := range 3 {
		set(t, n, "defaults", "c/timeout", fmt.Sprint(i+2))
		waitPins(t, n.Replica, "defaults", tenants)
	}
	for _, tenant := range tenants {
		got := moves(t, n.Replica, tenant)
		if got[4] != 1 {
			t.Errorf("%s was moved to @4 %d times", tenant, got[4])
		}
		for rev, n := range got {
			if n != 1 {
				t.Errorf("%s was moved to %s %d times", tenant, rev, n)
			}
		}
	}
}

// attaching is a viewer that may attach what it holds.
type attaching map[ledger.Tenant]bool

func (attaching) Reads(ledger.Tenant, ledger.Key) bool { return true }
func (attaching) Looked(ledger.Tenant, ledger.Prefix)  {}
func (attaching) Opens(ledger.Tenant, ledger.Key) bool { return true }
func (a attaching) Attaches(_ context.Context, _, base ledger.Tenant) bool {
	return a[base]
}

// TestLedger_Bases checks which lists are refused, and with which reason.
func TestLedger_Bases(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	for _, tenant := range []ledger.Tenant{"defaults", "plan", "nested", "acme", "other"} {
		set(t, n, tenant, "c/first", `1`)
	}
	follow(t, n, "nested", "defaults")
	follow(t, n, "other", "plan")
	many := make([]ledger.Base, 9)
	for i := range many {
		many[i] = ledger.Base{Tenant: ledger.Tenant(fmt.Sprintf("b%d", i)), Revision: 1}
	}
	for _, test := range []struct {
		name   string
		tenant ledger.Tenant
		value  string
		want   string
	}{
		{"a list", "acme", `[{"tenant":"plan","revision":1},{"tenant":"defaults","revision":1,"follow":true}]`, ""},
		{"no list", "acme", `{}`, "it must be a list such as"},
		{"an unknown field", "acme", `[{"tenant":"plan","revison":1}]`, "revison"},
		{"no revision", "acme", `[{"tenant":"plan"}]`, "name the revision of plan"},
		{"a revision that does not exist", "acme", `[{"tenant":"plan","revision":9}]`, "the head of plan is @1"},
		{"a tenant that does not exist", "acme", `[{"tenant":"plann","revision":1}]`, "acme may not inherit from plann"},
		{"itself", "acme", `[{"tenant":"acme","revision":1}]`, "a tenant cannot be its own base"},
		{"twice", "acme", `[{"tenant":"plan","revision":1},{"tenant":"plan","revision":1}]`, "plan is listed twice"},
		{"too many", "acme", string(ledger.BasesValue(many)), "9 bases are more than 8"},
		{"a tenant with bases", "acme", `[{"tenant":"nested","revision":1}]`, "nested has bases itself"},
		{"for a base", "plan", `[{"tenant":"defaults","revision":1}]`, "plan is a base of "},
		{"the ledger's own tenant", "acme", `[{"tenant":"_system","revision":1}]`, "_system is reserved"},
		{"for the ledger's own tenant", "_system", `[{"tenant":"plan","revision":1}]`, "a reserved tenant has no bases"},
		{"one that must not be attached", "acme", `[{"tenant":"other","revision":1}]`, "acme may not inherit from other"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := n.Ledger.Commit(context.Background(), test.tenant, ledger.ChangeSet{
				Author: "ann", Changes: []ledger.Change{{Key: ledger.BasesKey, Value: ledger.Value(test.value)}},
				Viewer: attaching{"plan": true, "defaults": true, "nested": true},
			})
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Fatalf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// TestLedger_ConcurrentBases attaches tenants to each other at the same time, by two processes: at
// most one of each pair is accepted.
func TestLedger_ConcurrentBases(t *testing.T) {
	s := ledgertest.Server(t)
	nodes := []*ledgertest.Node{ledgertest.Start(t, s, ledgertest.Config{}), ledgertest.Start(t, s, ledgertest.Config{})}
	for i := range 40 {
		pair := []ledger.Tenant{ledger.Tenant(fmt.Sprintf("a%d", i)), ledger.Tenant(fmt.Sprintf("b%d", i))}
		for _, tenant := range pair {
			got := set(t, nodes[0], tenant, "c/first", `1`)
			if err := nodes[1].Replica.Wait(t.Context(), tenant, got.Revision); err != nil {
				t.Fatal(err)
			}
		}
		var group sync.WaitGroup
		errs := make([]error, 2)
		for j, tenant := range pair {
			group.Go(func() {
				list := ledger.BasesValue([]ledger.Base{{Tenant: pair[1-j], Revision: 1, Follow: true}})
				_, errs[j] = nodes[(i+j*(i%2))%2].Ledger.Commit(context.Background(), tenant, ledger.ChangeSet{Author: "ann", Changes: []ledger.Change{{Key: ledger.BasesKey, Value: list}}})
			})
		}
		group.Wait()
		var invalid *ledger.InvalidError
		if (errs[0] == nil) == (errs[1] == nil) || !errors.As(errors.Join(errs...), &invalid) {
			t.Fatalf("%v: %v and %v, want one accepted and one invalid", pair, errs[0], errs[1])
		}
	}
}

// BenchmarkMover measures the time from the commit of a base until all of its tenants have it,
// and the latency of an ordinary writer meanwhile and without it, in milliseconds. Both are
// measured in turns, because the machine's own load changes.
func BenchmarkMover(b *testing.B) {
	for _, tenants := range []int{10, 100, 1000, 10000} {
		b.Run(fmt.Sprint(tenants), func(b *testing.B) {
			n := ledgertest.Start(b, ledgertest.Server(b), ledgertest.Config{})
			set(b, n, "defaults", "c/timeout", `0`)
			var group sync.WaitGroup
			slots := make(chan struct{}, 256)
			for i := range tenants {
				slots <- struct{}{}
				group.Go(func() { follow(b, n, ledger.Tenant(fmt.Sprintf("t%05d", i)), "defaults"); <-slots })
			}
			group.Wait()
			m := bases.Start(n.Replica, n.Ledger, slog.New(slog.DiscardHandler))
			defer m.Close()
			var alone, meanwhile []time.Duration
			for i := range b.N {
				b.StopTimer()
				alone = append(alone, latencies(b, n, time.Second, nil)...)
				feed := n.Replica.Feed()
				done := make(chan struct{})
				var writer sync.WaitGroup
				writer.Go(func() { meanwhile = append(meanwhile, latencies(b, n, time.Minute, done)...) })
				b.StartTimer()
				set(b, n, "defaults", "c/timeout", fmt.Sprint(i+1))
				for moved := 0; moved < tenants; {
					for _, c := range feed.Next(b.Context()) {
						if _, moves := c.Origin.(*ledger.BaseOrigin); moves {
							moved++
						}
					}
				}
				close(done)
				writer.Wait()
				feed.Close()
			}
			b.ReportMetric(p99(alone), "alone-p99-ms")
			b.ReportMetric(p99(meanwhile), "meanwhile-p99-ms")
			b.ReportMetric(p99(meanwhile)/p99(alone), "ratio")
		})
	}
}

// latencies are those of a writer of its own tenant, for a while or until done.
func latencies(b *testing.B, n *ledgertest.Node, while time.Duration, done <-chan struct{}) (all []time.Duration) {
	for end := time.Now().Add(while); time.Now().Before(end); {
		select {
		case <-done:
			return all
		default:
		}
		begun := time.Now()
		set(b, n, "writer", "c/k", fmt.Sprint(begun.UnixNano()))
		all = append(all, time.Since(begun))
	}
	return all
}

func p99(all []time.Duration) float64 {
	slices.Sort(all)
	if len(all) == 0 {
		return 0
	}
	return float64(all[len(all)*99/100]) / float64(time.Millisecond)
}

// TestRollback_PrefixWithInheritedValues rolls back one key while the pin stays: the value that
// was inherited is set.
func TestRollback_PrefixWithInheritedValues(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	set(t, n, "defaults", "k/a", `1`)
	set(t, n, "defaults", "k/b", `1`)
	set(t, n, "acme", ledger.BasesKey, `[{"tenant":"defaults","revision":2}]`)
	set(t, n, "defaults", "k/a", `2`)
	set(t, n, "defaults", "k/new", `3`)
	set(t, n, "acme", ledger.BasesKey, `[{"tenant":"defaults","revision":4}]`)
	set(t, n, "acme", "k/b", `9`)
	back := func(prefix ledger.Prefix) error {
		_, err := n.Ledger.Rollback(context.Background(), "acme", ledger.Rollback{Request: ledger.Request{Author: "ann"}, To: 1, Prefix: prefix})
		return err
	}
	var invalid *ledger.InvalidError
	if err := back("k/"); !errors.As(err, &invalid) || !strings.Contains(err.Error(), "k/new was not set in acme@1, and is inherited now") {
		t.Errorf("a rollback that would have to unset an inherited value: %v", err)
	}
	for _, key := range []ledger.Key{"k/a", "k/b"} {
		if err := back(ledger.Prefix(key)); err != nil {
			t.Fatal(err)
		}
		v, err := n.Replica.View("acme", replica.At{})
		if err != nil {
			t.Fatal(err)
		}
		e, _, err := v.Get(key)
		v.Close()
		if err != nil || e.Value != "1" || e.Base.Inherited() != (key == "k/b") {
			t.Errorf("%s is %+v after the rollback, %v", key, e, err)
		}
	}
}

// TestRollback_PrefixOfOverride rolls back the override of a key that inherited the same value at
// another pin: readers see the value of the target already, so that nothing is written.
func TestRollback_PrefixOfOverride(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	set(t, n, "defaults", "k/a", `1`)
	set(t, n, "defaults", "k/a", `2`)
	set(t, n, "acme", ledger.BasesKey, `[{"tenant":"defaults","revision":1}]`)
	set(t, n, "acme", ledger.BasesKey, `[{"tenant":"defaults","revision":2}]`)
	set(t, n, "acme", "k/a", `1`)
	for _, dry := range []bool{true, false} {
		done, err := n.Ledger.Rollback(context.Background(), "acme", ledger.Rollback{Request: ledger.Request{Author: "ann", DryRun: dry}, To: 1, Prefix: "k/"})
		if err != nil {
			t.Fatal(err)
		}
		if len(done.Changes) > 0 || done.Result != nil {
			t.Errorf("dry run %v: the rollback changes %+v, with the result %+v; want nothing", dry, done.Changes, done.Result)
		}
	}
	v, err := n.Replica.View("acme", replica.At{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if e, _, err := v.Get("k/a"); err != nil || e.Value != "1" {
		t.Errorf("after the rollback it is %+v, %v; want the 1 of acme@1", e, err)
	}
}

// TestRestore_DryRunChecksBases restores a list with a base that was detached: the dry run is
// refused like the call itself if the caller may not attach the base.
func TestRestore_DryRunChecksBases(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	set(t, n, "plan", "k/a", `1`)
	set(t, n, "acme", ledger.BasesKey, `[{"tenant":"plan","revision":1}]`)
	set(t, n, "acme", ledger.BasesKey, `[]`)
	for _, dry := range []bool{true, false} {
		request := ledger.Request{Author: "ann", Viewer: attaching{}, DryRun: dry}
		var refused *ledger.AttachError
		if _, err := n.Ledger.Rollback(context.Background(), "acme", ledger.Rollback{Request: request, To: 1}); !errors.As(err, &refused) {
			t.Errorf("rollback, dry run %v: %v, want that plan may not be attached", dry, err)
		}
		if _, err := n.Ledger.Revert(context.Background(), "acme", ledger.Revert{Request: request, Revisions: []ledger.Revision{2}}); !errors.As(err, &refused) {
			t.Errorf("revert, dry run %v: %v, want that plan may not be attached", dry, err)
		}
	}
	allowed := ledger.Request{Author: "ann", Viewer: attaching{"plan": true}, DryRun: true}
	if done, err := n.Ledger.Rollback(context.Background(), "acme", ledger.Rollback{Request: allowed, To: 1}); err != nil || len(done.Changes) != 1 || done.Result != nil {
		t.Errorf("a dry run of a caller who may attach plan: %+v, %v", done, err)
	}
	if head := n.Replica.Head("acme").Revision; head != 2 {
		t.Errorf("the head is %s, want @2", head)
	}
}

// TestRevert_Bases reverts changes of a list whose pins have moved since.
func TestRevert_Bases(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	m := bases.Start(n.Replica, n.Ledger, slog.New(slog.DiscardHandler))
	t.Cleanup(m.Close)
	for _, base := range []ledger.Tenant{"defaults", "plan", "other"} {
		set(t, n, base, "c/x", `1`)
	}
	const plan, defaults, other = `{"tenant":"plan","revision":%d,"follow":true}`, `{"tenant":"defaults","revision":%d,"follow":true}`, `{"tenant":"other","revision":1}`
	move := func(base ledger.Tenant) {
		t.Helper()
		got := set(t, n, base, "c/x", fmt.Sprint(time.Now().UnixNano()))
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			list := n.Replica.Bases("acme")
			i := slices.IndexFunc(list, func(b ledger.Base) bool { return b.Tenant == base })
			if i < 0 || list[i].Revision == got.Revision {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the pins are %v, and %s is at %s", list, base, got.Revision)
			}
		}
	}
	list := func(format string, revisions ...any) ledger.Revision {
		t.Helper()
		return set(t, n, "acme", ledger.BasesKey, "["+fmt.Sprintf(format, revisions...)+"]").Revision
	}
	revert := func(rev ledger.Revision, want string) {
		t.Helper()
		_, err := n.Ledger.Revert(context.Background(), "acme", ledger.Revert{Request: ledger.Request{Author: "ann"}, Revisions: []ledger.Revision{rev}})
		if err != nil {
			t.Errorf("revert %s: %v", rev, err)
		}
		if got := string(ledger.BasesValue(n.Replica.Bases("acme"))); got != "["+want+"]" {
			t.Errorf("after the revert of %s the list is %s, want %s", rev, got, want)
		}
	}
	first := list(defaults, 1)
	added := list(plan+","+defaults, 1, 1)
	move("defaults")
	move("plan")
	revert(added, fmt.Sprintf(defaults, 2)) // the base is removed, and the other pin stays

	list(plan+","+defaults, 2, 2)
	removed := list(defaults, 2)
	move("defaults")
	revert(removed, fmt.Sprintf(plan+","+defaults, 2, 3)) // it is back in its place

	swapped := list(defaults+","+plan, 3, 2)
	move("plan")
	var stands *ledger.RevertError
	if _, err := n.Ledger.Revert(context.Background(), "acme", ledger.Revert{Request: ledger.Request{Author: "ann"}, Revisions: []ledger.Revision{swapped}}); !errors.As(err, &stands) {
		t.Errorf("a revert of an order whose pins have moved: %v", err)
	}
	list(defaults+","+plan+","+other, 3, 3)
	revert(first, fmt.Sprintf(plan+","+other, 3))
}
