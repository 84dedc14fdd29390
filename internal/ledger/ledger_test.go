package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
)

const acme ledger.Tenant = "acme"

func set(kv ...string) ledger.ChangeSet {
	cs := ledger.ChangeSet{Author: "alice"}
	for i := 0; i < len(kv); i += 2 {
		cs.Changes = append(cs.Changes, ledger.Change{Key: ledger.Key(kv[i]), Value: ledger.Value(kv[i+1])})
	}
	return cs
}

func TestCommit_IsReadableWhenAnswered(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	for i := 1; i <= 20; i++ {
		value := fmt.Sprint(i)
		got, err := n.Ledger.Commit(t.Context(), acme, set("a/b", value))
		if err != nil {
			t.Fatal(err)
		}
		if got.Revision != ledger.Revision(i) {
			t.Fatalf("revision %s, want @%d", got.Revision, i)
		}
		v, err := n.Replica.View(acme, replica.At{})
		if err != nil {
			t.Fatal(err)
		}
		e, ok, err := v.Get("a/b")
		if want := (replica.Entry{Key: "a/b", Value: ledger.Value(value), Revision: got.Revision}); !ok || err != nil || e != want {
			t.Fatalf("Get = %v, %v, %v; want %v", e, ok, err, want)
		}
		v.Close()
	}
}

func TestPreconditions(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	commit := func(cs ledger.ChangeSet) error {
		_, err := n.Ledger.Commit(t.Context(), acme, cs)
		return err
	}
	if err := commit(set("a", "1", "b", "1")); err != nil { // @1
		t.Fatal(err)
	}
	if err := commit(ledger.ChangeSet{Changes: []ledger.Change{{Key: "b", Delete: true}}}); err != nil { // @2
		t.Fatal(err)
	}
	rev := func(r ledger.Revision) *ledger.Revision { return &r }
	for _, tc := range []struct {
		name string
		head *ledger.Revision
		pre  []ledger.Precondition
		want []ledger.Conflict
	}{
		{"a key that is absent", nil, []ledger.Precondition{{Key: "never", Revision: 0}}, nil},
		{"a deleted key is absent", nil, []ledger.Precondition{{Key: "b", Revision: 0}}, nil},
		{"a deleted key has no revision", nil, []ledger.Precondition{{Key: "b", Revision: 2}}, []ledger.Conflict{{Key: "b", Expected: 2}}},
		{"a key at its revision", nil, []ledger.Precondition{{Key: "a", Revision: 1}}, nil},
		{"a key that is there", nil, []ledger.Precondition{{Key: "a"}}, []ledger.Conflict{{Key: "a", Actual: 1}}},
		{"every conflict is named", nil, []ledger.Precondition{{Key: "a", Revision: 9}, {Key: "b", Revision: 8}},
			[]ledger.Conflict{{Key: "a", Expected: 9, Actual: 1}, {Key: "b", Expected: 8}}},
		{"another head", rev(1), nil, []ledger.Conflict{{Expected: 1, Actual: 0}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cs := set("x", "1")
			cs.Preconditions, cs.ExpectedHead = tc.pre, tc.head
			err := commit(cs)
			var conflict *ledger.ConflictError
			if errors.As(err, &conflict) != (tc.want != nil) {
				t.Fatalf("error %v, want conflicts %v", err, tc.want)
			}
			if tc.head != nil { // the head moves from case to case
				tc.want[0].Actual = n.Replica.Head(acme).Revision
			}
			if conflict != nil {
				if diff := cmp.Diff(tc.want, conflict.Conflicts); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestCommit_RejectedLeavesNothing(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	many := ledger.ChangeSet{}
	for i := range ledger.MaxChanges + 1 {
		many.Changes = append(many.Changes, ledger.Change{Key: ledger.Key(fmt.Sprint("k", i)), Value: "1"})
	}
	large := ledger.ChangeSet{}
	for i := range 9 {
		large.Changes = append(large.Changes, ledger.Change{Key: ledger.Key(fmt.Sprint("k", i)), Value: ledger.Value(`"` + strings.Repeat("x", ledger.MaxValue-2) + `"`)})
	}
	past := set("a", "1")
	past.Import = &ledger.Import{Time: time.Now().Add(time.Hour)}
	for _, tc := range []struct {
		name  string
		cs    ledger.ChangeSet
		field string
	}{
		{"no change", ledger.ChangeSet{}, "changes"},
		{"too many changes", many, "changes"},
		{"too many bytes", large, "changes"},
		{"a key twice", set("a", "1", "b", "2", "a", "3"), "changes[2].key"},
		{"a long message", ledger.ChangeSet{Message: strings.Repeat("x", ledger.MaxMessage+1), Changes: set("a", "1").Changes}, "message"},
		{"a time in the future", past, "import.time"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := n.Ledger.Commit(t.Context(), acme, tc.cs)
			var invalid *ledger.InvalidError
			if !errors.As(err, &invalid) || invalid.Violations[0].Field != tc.field {
				t.Fatalf("error %v, want one about %s", err, tc.field)
			}
		})
	}
	if head := n.Replica.Head(acme); head.Revision != 0 {
		t.Fatalf("head %s after refusals only", head.Revision)
	}
}

func TestCommit_RetryReturnsFirstOutcome(t *testing.T) {
	s := ledgertest.Server(t)
	n := ledgertest.Start(t, s, ledgertest.Config{})
	first := set("a", "1")
	first.RequestID = "r1"
	want, err := n.Ledger.Commit(t.Context(), acme, first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Ledger.Commit(t.Context(), acme, set("a", "2")); err != nil {
		t.Fatal(err)
	}
	want.Repeated = true
	other := ledgertest.Start(t, s, ledgertest.Config{}) // another process
	for _, l := range []*ledger.Ledger{n.Ledger, other.Ledger} {
		got, err := l.Commit(t.Context(), acme, first)
		if err != nil || !got.Time.Equal(want.Time) || got.ID != want.ID || got.Revision != want.Revision || !got.Repeated {
			t.Fatalf("Commit again = %v, %v; want %v", got, err, want)
		}
	}
	if head := n.Replica.Head(acme); head.Revision != 2 {
		t.Fatalf("head %s, want @2", head.Revision)
	}
}

func TestStream_StopsAtTheFirstFailure(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	bad := set("a", "2")
	bad.Preconditions = []ledger.Precondition{{Key: "a", Revision: 77}}
	var last *ledger.Pending
	var all []*ledger.Pending
	for _, cs := range []ledger.ChangeSet{set("a", "1"), bad, set("a", "3"), set("a", "4")} {
		p, err := n.Ledger.Submit(t.Context(), acme, cs, last)
		if err != nil {
			t.Fatal(err)
		}
		last = p
		all = append(all, p)
	}
	var conflict *ledger.ConflictError
	for i, want := range []func(error) bool{
		func(err error) bool { return err == nil },
		func(err error) bool { return errors.As(err, &conflict) },
		func(err error) bool { return errors.Is(err, ledger.ErrAborted) },
		func(err error) bool { return errors.Is(err, ledger.ErrAborted) },
	} {
		if _, err := all[i].Wait(t.Context()); !want(err) {
			t.Errorf("change set %d: %v", i, err)
		}
	}
	if head := n.Replica.Head(acme); head.Revision != 1 {
		t.Errorf("head %s, want @1", head.Revision)
	}
}

// lossy loses answers: what was written is reported as unknown.
type lossy struct {
	ledger.Journal
	mu sync.Mutex
	n  int
}

func (j *lossy) Append(ctx context.Context, expected ledger.Sequence, record []byte) (ledger.Sequence, error) {
	j.mu.Lock()
	j.n++
	n := j.n
	j.mu.Unlock()
	switch n % 4 {
	case 0: // never sent
		return 0, fmt.Errorf("%w: lost on the way", ledger.ErrUnknownOutcome)
	case 1: // answer lost
		if _, err := j.Journal.Append(ctx, expected, record); err != nil {
			return 0, err
		}
		return 0, fmt.Errorf("%w: answer lost", ledger.ErrUnknownOutcome)
	}
	return j.Journal.Append(ctx, expected, record)
}

func TestCommit_TwoWritersWithLostAnswers(t *testing.T) {
	for _, tenants := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d tenants", tenants), func(t *testing.T) { testLostAnswers(t, tenants) })
	}
}

func testLostAnswers(t *testing.T, tenants int) {
	s := ledgertest.Server(t)
	wrap := func(j ledger.Journal) ledger.Journal { return &lossy{Journal: j} }
	nodes := []*ledgertest.Node{
		ledgertest.Start(t, s, ledgertest.Config{Wrap: wrap}),
		ledgertest.Start(t, s, ledgertest.Config{Wrap: wrap}),
	}
	const writers, each = 8, 25
	tenant := func(w int) ledger.Tenant { return ledger.Tenant(fmt.Sprintf("acme%d", w/2%tenants)) }
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprintf("w%d/%d", w, i)
				cs := set(key, fmt.Sprint(i))
				cs.Preconditions = []ledger.Precondition{{Key: ledger.Key(key)}}
				if _, err := nodes[w%2].Ledger.Commit(t.Context(), tenant(w), cs); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
		})
	}
	wg.Wait()
	for _, n := range nodes {
		for i := range tenants {
			if got, want := wholeChain(t, n, tenant(2*i)), writers/tenants*each; got != want {
				t.Errorf("%s has %d keys, want %d", tenant(2*i), got, want)
			}
		}
	}
}

// wholeChain checks a tenant's history once the node has all of the journal, and
// returns how many keys it has set, each once.
func wholeChain(t *testing.T, n *ledgertest.Node, tenant ledger.Tenant) int {
	t.Helper()
	last, err := n.Journal.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Replica.WaitPosition(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	v, err := n.Replica.View(tenant, replica.At{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var head ledger.Head
	seen := make(map[ledger.Key]bool)
	for r := ledger.Revision(1); r <= v.State().Head; r++ {
		c, err := v.Commit(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Follows(head); err != nil {
			t.Fatal(err)
		}
		head = c.Head(0)
		for _, ch := range c.Changes {
			if seen[ch.Key] {
				t.Errorf("%s was committed twice", ch.Key)
			}
			seen[ch.Key] = true
		}
	}
	return len(seen)
}

func TestImport_OldestFirst(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	at := func(s string) time.Time {
		parsed, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	put := func(when string) error {
		cs := set("a", "1")
		cs.Import = &ledger.Import{Time: at(when), Importer: "root"}
		_, err := n.Ledger.Commit(t.Context(), acme, cs)
		return err
	}
	for _, when := range []string{"2022-10-10T10:40:23Z", "2022-10-10T10:40:23Z", "2023-01-01T00:00:00Z"} {
		if err := put(when); err != nil {
			t.Fatal(err)
		}
	}
	var invalid *ledger.InvalidError
	if err := put("2022-12-31T23:59:59Z"); !errors.As(err, &invalid) {
		t.Errorf("an import older than the head: %v", err)
	}
	v, err := n.Replica.View(acme, replica.At{Time: at("2022-11-01T00:00:00Z")})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if got := v.State().Revision; got != 2 {
		t.Errorf("in November the head was %s, want @2", got)
	}
	var out *ledger.RangeError
	if _, err := n.Replica.View(acme, replica.At{Time: at("2021-01-01T00:00:00Z")}); !errors.As(err, &out) {
		t.Errorf("before the first commit: %v", err)
	}
}

// A change set that is based on a commit of another history fails alone.
func TestCommit_ChangedHistoryFailsAlone(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	if _, err := n.Ledger.Commit(t.Context(), acme, set("a", "1")); err != nil {
		t.Fatal(err)
	}
	stale := set("a", "2")
	stale.Preconditions = []ledger.Precondition{{Key: "a", Revision: 1, ID: []byte("another")}}
	var all []*ledger.Pending
	for _, cs := range []ledger.ChangeSet{stale, set("b", "3")} {
		p, err := n.Ledger.Submit(t.Context(), acme, cs, nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	var changed *ledger.HistoryChangedError
	if _, err := all[0].Wait(t.Context()); !errors.As(err, &changed) {
		t.Errorf("the stale one: %v", err)
	}
	if _, err := all[1].Wait(t.Context()); err != nil {
		t.Errorf("the other one: %v", err)
	}
}
