package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// gated is a journal whose appends can be held back, as if the disk were slow. hold
// names one append, counted from 1.
type gated struct {
	ledger.Journal
	mu      sync.Mutex
	appends int
	held    map[int]*gate
	asked   atomic.Int32 // for the last message
}

type gate struct{ reached, open chan struct{} }

// hold holds back the append with that number, until the function that it returns is
// called.
func (j *gated) hold(n int) *gate {
	g := &gate{make(chan struct{}), make(chan struct{})}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.held == nil {
		j.held = make(map[int]*gate)
	}
	j.held[n] = g
	return g
}

func (j *gated) Append(ctx context.Context, expected ledger.Sequence, record []byte) (ledger.Sequence, error) {
	j.mu.Lock()
	j.appends++
	g := j.held[j.appends]
	j.mu.Unlock()
	if g != nil {
		close(g.reached)
		select {
		case <-g.open:
		case <-ctx.Done():
		}
	}
	return j.Journal.Append(ctx, expected, record)
}

func (j *gated) Last(ctx context.Context) (ledger.Sequence, error) {
	j.asked.Add(1)
	return j.Journal.Last(ctx)
}

// writer is a process whose journal is gated, and that counts what its ledger drafts.
type writer struct {
	*ledgertest.Node
	journal *gated
	ledger  *ledger.Ledger
	mu      sync.Mutex
	drafted map[ledger.Tenant]int // change sets that were checked
	lost    int                   // records for which another process came first
}

func startWriter(t *testing.T, s *journal.Server) *writer {
	t.Helper()
	w := &writer{Node: ledgertest.Start(t, s, ledgertest.Config{}), drafted: make(map[ledger.Tenant]int)}
	w.journal = &gated{Journal: w.Journal}
	w.ledger = w.newLedger(w.Replica)
	t.Cleanup(w.ledger.Close)
	return w
}

var errBroken = errors.New("the schemas of this tenant cannot be read")

func (w *writer) newLedger(r ledger.Replica) *ledger.Ledger {
	return ledger.New(ledger.Config{
		Journal: w.journal, Replica: r,
		Check: func(t ledger.Tenant, _ []ledger.Change) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.drafted[t]++
			if t == "broken" {
				return errBroken
			}
			return nil
		},
		Observe: func(_, conflicts int) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.lost += conflicts
		},
	})
}

func (w *writer) submit(t *testing.T, tenant ledger.Tenant, cs ledger.ChangeSet) *ledger.Pending {
	t.Helper()
	p, err := w.ledger.Submit(t.Context(), tenant, cs, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// settled waits until so many drafts wait for the next record.
func (w *writer) settled(t *testing.T, drafts int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); w.ledger.Drafts() != drafts; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d drafts wait, want %d", w.ledger.Drafts(), drafts)
		}
	}
}

// records are the journal's, as how many commits each tenant has in them.
func (w *writer) records(t *testing.T) (counts []map[ledger.Tenant]int, bytes []int) {
	t.Helper()
	last, err := w.Journal.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := ledger.Sequence(1); seq <= last; seq++ {
		m, err := w.Journal.Read(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		commits, err := ledger.DecodeRecord(m.Record)
		if err != nil {
			t.Fatal(err)
		}
		of := make(map[ledger.Tenant]int)
		for _, c := range commits {
			of[c.Tenant]++
		}
		counts, bytes = append(counts, of), append(bytes, len(m.Record))
	}
	return counts, bytes
}

func mustWait(t *testing.T, pending ...*ledger.Pending) (results []ledger.Result) {
	t.Helper()
	for i, p := range pending {
		result, err := p.Wait(t.Context())
		if err != nil {
			t.Fatalf("change set %d: %v", i, err)
		}
		results = append(results, result)
	}
	return results
}

func tenants(prefix string, n int) []ledger.Tenant {
	out := make([]ledger.Tenant, n)
	for i := range out {
		out[i] = ledger.Tenant(fmt.Sprintf("%s%d", prefix, i))
	}
	return out
}

// Whatever waits while a record is in flight goes into the next one, whichever tenants
// it is of.
func TestCommitter_TenantsThatWaitShareARecord(t *testing.T) {
	w := startWriter(t, ledgertest.Server(t))
	inFlight := w.journal.hold(1)
	all := []*ledger.Pending{w.submit(t, "acme", set("a", "0"))}
	<-inFlight.reached
	for _, value := range []string{"3", "2", "1"} { // one draft each: they wait for the tenant's draft that is in flight
		all = append(all, w.submit(t, "acme", set("a", value)))
	}
	others := tenants("t", 100)
	for _, tenant := range others {
		all = append(all, w.submit(t, tenant, set("a", "1")))
	}
	w.settled(t, len(others))
	close(inFlight.open)
	mustWait(t, all...)

	// acme's next draft and the next record start when the first record is written: the
	// draft is in that record if it is quicker, else in the one after.
	early, late := map[ledger.Tenant]int{"acme": 3}, make(map[ledger.Tenant]int)
	for _, tenant := range others {
		early[tenant], late[tenant] = 1, 1
	}
	counts, _ := w.records(t)
	if !cmp.Equal(counts, []map[ledger.Tenant]int{{"acme": 1}, early}) &&
		!cmp.Equal(counts, []map[ledger.Tenant]int{{"acme": 1}, late, {"acme": 3}}) {
		t.Errorf("the records hold %v", counts)
	}
	for _, tenant := range append(others, "acme") {
		v, err := w.Replica.View(tenant, replica.At{})
		if err != nil {
			t.Fatal(err)
		}
		if e, ok, err := v.Get("a"); !ok || err != nil || e.Value != "1" {
			t.Errorf("%s has %v, %v, %v", tenant, e, ok, err)
		}
		v.Close()
	}
}

func TestCommitter_RecordsAreBounded(t *testing.T) {
	value := func(bytes int) string { return `"` + strings.Repeat("x", bytes) + `"` }
	for _, tc := range []struct {
		name    string
		tenants int
		value   string
		want    []int // commits of the records
	}{
		{"by commits", 2*ledger.MaxCommits + 10, "1", []int{ledger.MaxCommits, ledger.MaxCommits, 10}},
		{"by bytes", 5, value(ledger.RecordBytes * 2 / 5), []int{2, 2, 1}},
		{"a longer commit is alone", 3, value(ledger.RecordBytes * 3 / 2), []int{1, 1, 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := startWriter(t, ledgertest.Server(t))
			inFlight := w.journal.hold(1)
			all := []*ledger.Pending{w.submit(t, "acme", set("a", "0"))}
			<-inFlight.reached
			for _, tenant := range tenants("t", tc.tenants) {
				all = append(all, w.submit(t, tenant, set("a", tc.value)))
			}
			w.settled(t, tc.tenants)
			close(inFlight.open)
			mustWait(t, all...)
			counts, bytes := w.records(t)
			var got []int
			for i, of := range counts[1:] {
				n := 0
				for _, commits := range of {
					n += commits
				}
				got = append(got, n)
				if n > 1 && bytes[i+1] > ledger.RecordBytes {
					t.Errorf("record %d has %d bytes and %d commits", i+2, bytes[i+1], n)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("the records have %v commits, want %v", got, tc.want)
			}
		})
	}
}

// Change sets that yield come along with others, a few in each record, and get records of
// their own when no other waits.
func TestCommitter_YieldingChangeSetsLetOthersGoFirst(t *testing.T) {
	w := startWriter(t, ledgertest.Server(t))
	first, second := w.journal.hold(1), w.journal.hold(2)
	all := []*ledger.Pending{w.submit(t, "acme", set("a", "0"))}
	<-first.reached
	yielding := set("a", "1")
	yielding.Yields = true
	const pins = 3*ledger.MaxYielding + 1
	for _, tenant := range tenants("pin", pins) {
		all = append(all, w.submit(t, tenant, yielding))
	}
	w.settled(t, pins)
	for _, tenant := range tenants("early", 20) {
		all = append(all, w.submit(t, tenant, set("a", "1")))
	}
	w.settled(t, pins+20)
	close(first.open)
	<-second.reached
	all = append(all, w.submit(t, "late", set("a", "1")))
	w.settled(t, pins-ledger.MaxYielding+1)
	close(second.open)
	mustWait(t, all...)

	type record struct{ Pins, Others int }
	var got []record
	counts, _ := w.records(t)
	for _, of := range counts {
		var r record
		for tenant := range of {
			if strings.HasPrefix(string(tenant), "pin") {
				r.Pins++
			} else {
				r.Others++
			}
		}
		got = append(got, r)
	}
	want := []record{{0, 1}, {ledger.MaxYielding, 20}, {ledger.MaxYielding, 1}, {ledger.MaxYielding, 0}, {1, 0}}
	if !slices.Equal(got, want) {
		t.Errorf("the records hold %v, want %v", got, want)
	}
}

// A tenant that imports gets one draft per record: a caller of another tenant that
// waits while a record is written is in the next record or the one after it.
func TestCommitter_AnImportDelaysOthersByOneRecord(t *testing.T) {
	w := startWriter(t, ledgertest.Server(t))
	const bulk, others = 12 * ledger.MaxCommits, 20
	first, middle := w.journal.hold(1), w.journal.hold(6)
	all := []*ledger.Pending{w.submit(t, "acme", set("a", "0"))}
	<-first.reached
	for i := range bulk {
		all = append(all, w.submit(t, "import", set("a", fmt.Sprint(i))))
	}
	w.settled(t, 1)
	for _, tenant := range tenants("early", others) {
		all = append(all, w.submit(t, tenant, set("a", "1")))
	}
	w.settled(t, 1+others)
	close(first.open)
	<-middle.reached // a record of the import
	for _, tenant := range tenants("late", others) {
		all = append(all, w.submit(t, tenant, set("a", "1")))
	}
	w.settled(t, others)
	close(middle.open)
	mustWait(t, all...)

	counts, _ := w.records(t)
	imported := 0
	for i, of := range counts {
		if of["import"] > ledger.MaxCommits {
			t.Errorf("record %d holds %d commits of the import", i+1, of["import"])
		}
		imported += of["import"]
		for tenant := range of {
			if strings.HasPrefix(string(tenant), "early") && i+1 > 3 || strings.HasPrefix(string(tenant), "late") && i+1 > 8 {
				t.Errorf("%s is in record %d", tenant, i+1)
			}
		}
	}
	if imported != bulk || len(counts) < 12 {
		t.Errorf("%d commits were imported in %d records, want %d", imported, len(counts), bulk)
	}
}

// A process that loses the race checks only the tenants again that the winner's record
// has changed. Their preconditions and request ids are checked against that record.
func TestCommitter_AConflictRedraftsWhatTheOtherRecordChanged(t *testing.T) {
	s := ledgertest.Server(t)
	loser, winner := startWriter(t, s), startWriter(t, s)
	warm, race := loser.journal.hold(1), loser.journal.hold(2)
	mustLater := loser.submit(t, "warm", set("a", "0"))
	<-warm.reached

	cond := set("a", `"loser"`)
	cond.Preconditions = []ledger.Precondition{{Key: "a"}}
	request := set("a", `"loser"`)
	request.RequestID = "r1"
	untouched := []*ledger.Pending{loser.submit(t, "acme", cond), loser.submit(t, "beta", set("a", `"loser"`))}
	loser.settled(t, 2)
	refused := loser.submit(t, "conditional", cond)
	repeated := loser.submit(t, "repeated", request)
	again := loser.submit(t, "again", set("b", `"loser"`))
	loser.settled(t, 5)
	close(warm.open)
	mustWait(t, mustLater)
	<-race.reached

	winners := mustWait(t,
		winner.submit(t, "conditional", set("a", `"winner"`)),
		winner.submit(t, "repeated", request),
		winner.submit(t, "again", set("a", `"winner"`)),
	)
	position, err := winner.Journal.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	close(race.open)

	mustWait(t, untouched...)
	var conflict *ledger.ConflictError
	if _, err := refused.Wait(t.Context()); !errors.As(err, &conflict) || !slices.Equal(conflict.Conflicts, []ledger.Conflict{{Key: "a", Actual: 1}}) {
		t.Errorf("a precondition that the winner's record broke: %v", err)
	}
	if got := mustWait(t, repeated)[0]; !got.Repeated || got.ID != winners[1].ID {
		t.Errorf("a request that the winner has written: %v, want %v", got, winners[1])
	}
	if got := mustWait(t, again)[0]; got.Revision != 2 {
		t.Errorf("a change set after the winner's is %s", got.Revision)
	}
	loser.mu.Lock()
	defer loser.mu.Unlock()
	// A request id that was seen before is not checked.
	want := map[ledger.Tenant]int{"warm": 1, "acme": 1, "beta": 1, "conditional": 1, "repeated": 1, "again": 2}
	if !cmp.Equal(loser.drafted, want) {
		t.Errorf("checks: %s", cmp.Diff(want, loser.drafted))
	}
	counts, _ := loser.records(t)
	if got, want := counts[position], map[ledger.Tenant]int{"acme": 1, "beta": 1}; !cmp.Equal(got, want) {
		t.Errorf("the first record after the winner's holds %v, want %v", got, want)
	}
	if loser.lost == 0 {
		t.Error("no conflict was observed")
	}
}

// A tenant whose change sets cannot be checked is alone with that.
func TestCommitter_ATenantThatFailsIsAlone(t *testing.T) {
	w := startWriter(t, ledgertest.Server(t))
	inFlight := w.journal.hold(1)
	all := []*ledger.Pending{w.submit(t, "acme", set("a", "0"))}
	<-inFlight.reached
	broken := w.submit(t, "broken", set("a", "1"))
	bad := set("a", "1")
	bad.Preconditions = []ledger.Precondition{{Key: "a", Revision: 7}}
	refused := w.submit(t, "refused", bad)
	for _, tenant := range tenants("t", 5) {
		all = append(all, w.submit(t, tenant, set("a", "1")))
	}
	if _, err := broken.Wait(t.Context()); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "commit to broken") {
		t.Errorf("the tenant that fails: %v", err)
	}
	w.settled(t, 6)
	close(inFlight.open)
	mustWait(t, all...)
	var conflict *ledger.ConflictError
	if _, err := refused.Wait(t.Context()); !errors.As(err, &conflict) {
		t.Errorf("the tenant that is refused: %v", err)
	}
	if counts, _ := w.records(t); len(counts) != 2 || len(counts[1]) != 5 {
		t.Errorf("the records hold %v", counts)
	}
}

// slow is a journal whose followers get nothing until the gate opens.
type slow struct {
	*journal.Journal
	open chan struct{}
}

func (j *slow) Follow(ctx context.Context, after journal.Message, handle func(journal.Message) error) error {
	select {
	case <-j.open:
		return j.Journal.Follow(ctx, after, handle)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A refusal is an answer about the newest state: a process that lags behind the journal
// catches up before it refuses, and may then accept.
func TestCommitter_RefusalsAreConfirmedAtTheJournalsEnd(t *testing.T) {
	s := ledgertest.Server(t)
	w, other := startWriter(t, s), startWriter(t, s)
	lag := &slow{w.Journal, make(chan struct{})}
	r, err := replica.Open(replica.Config{Path: filepath.Join(t.TempDir(), "replica.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if err := r.Follow(lag); err != nil {
		t.Fatal(err)
	}
	for !r.Ready() { // the journal is empty
		time.Sleep(time.Millisecond)
	}
	w.ledger.Close()
	w.ledger = w.newLedger(r)
	t.Cleanup(w.ledger.Close)

	mustWait(t, other.submit(t, "acme", set("a", "1")), other.submit(t, "beta", set("a", "1")))
	isTrue, isFalse := set("a", "2"), set("a", "2")
	isTrue.Preconditions = []ledger.Precondition{{Key: "a", Revision: 1}}
	isFalse.Preconditions = []ledger.Precondition{{Key: "a", Revision: 7}}
	accepted, refused := w.submit(t, "acme", isTrue), w.submit(t, "beta", isFalse)
	for w.journal.asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	for _, p := range []*ledger.Pending{accepted, refused} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a process that lags answers %v", err)
		}
		cancel()
	}
	close(lag.open)
	if got := mustWait(t, accepted)[0]; got.Revision != 2 {
		t.Errorf("what the newest state allows is %s", got.Revision)
	}
	var conflict *ledger.ConflictError
	if _, err := refused.Wait(t.Context()); !errors.As(err, &conflict) || !slices.Equal(conflict.Conflicts, []ledger.Conflict{{Key: "a", Expected: 7, Actual: 1}}) {
		t.Errorf("the refusal is not one of the newest state: %v", err)
	}
}

// A process that loses the race, and whose consumer is lost, reads the winner's record itself.
func TestCommitter_ConflictWithoutDelivery(t *testing.T) {
	s := ledgertest.Server(t)
	w, other := startWriter(t, s), startWriter(t, s)
	r, err := replica.Open(replica.Config{Path: filepath.Join(t.TempDir(), "replica.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if err := r.Follow(&slow{w.Journal, make(chan struct{})}); err != nil { // delivers nothing
		t.Fatal(err)
	}
	for !r.Ready() { // the journal is empty
		time.Sleep(time.Millisecond)
	}
	w.ledger.Close()
	w.ledger = w.newLedger(r)
	t.Cleanup(w.ledger.Close)

	mustWait(t, other.submit(t, "beta", set("a", "1")))
	mustWait(t, w.submit(t, "acme", set("a", "1")))
	mustWait(t, other.submit(t, "acme", set("a", "2")), other.submit(t, "beta", set("a", "2")))
	if got := mustWait(t, w.submit(t, "acme", set("a", "3")))[0]; got.Revision != 3 {
		t.Errorf("the revision is %s, want @3", got.Revision)
	}
}

// A process that closes answers what waits: nothing of it was written.
func TestCommitter_CloseFailsWhatWaits(t *testing.T) {
	w := startWriter(t, ledgertest.Server(t))
	inFlight := w.journal.hold(1)
	w.submit(t, "acme", set("a", "0"))
	<-inFlight.reached
	var waiting []*ledger.Pending
	for _, tenant := range tenants("t", 5) {
		waiting = append(waiting, w.submit(t, tenant, set("a", "1")))
	}
	w.settled(t, len(waiting))
	w.ledger.Close()
	for _, p := range waiting {
		if _, err := p.Wait(t.Context()); !errors.Is(err, ledger.ErrUnavailable) || errors.Is(err, ledger.ErrUnknownOutcome) {
			t.Errorf("a change set that was not sent: %v", err)
		}
	}
	if _, err := w.ledger.Commit(t.Context(), "acme", set("a", "1")); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}

// A change set of a stream does not keep the answered ones before it in memory.
func TestSubmit_PredecessorsAreLetGo(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	submit := func(after *ledger.Pending, i int) *ledger.Pending {
		p, err := n.Ledger.Submit(t.Context(), "acme", ledger.ChangeSet{Author: "a", Changes: []ledger.Change{{Key: "a", Value: ledger.Value(fmt.Sprint(i))}}}, after)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		return p
	}
	last := submit(nil, 0)
	first := weak.Make(last)
	for i := range 3 {
		last = submit(last, i+1)
	}
	for end := time.Now().Add(time.Minute); first.Value() != nil; runtime.GC() {
		if time.Now().After(end) {
			t.Fatal("the first change set is still in memory")
		}
	}
	runtime.KeepAlive(last)
}
