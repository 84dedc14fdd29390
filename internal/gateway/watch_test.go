package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type watchClient = stelev1.Config_WatchClient

func (f *fixture) watch(t testing.TB, ctx context.Context, create ...*stelev1.CreateWatch) watchClient {
	t.Helper()
	stream, err := f.config.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range create {
		ask(t, stream, &stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: c}})
	}
	return stream
}

func ask(t testing.TB, stream watchClient, req *stelev1.WatchRequest) {
	t.Helper()
	if err := stream.Send(req); err != nil {
		t.Fatal(err)
	}
}

// recv returns the next response that is not a progress report: the gateway sends
// those every few seconds, in between whatever a test waits for.
func recv(t testing.TB, stream watchClient) *stelev1.WatchResponse {
	t.Helper()
	for {
		if resp := recvAny(t, stream); resp.GetProgress() == nil {
			return resp
		}
	}
}

func recvAny(t testing.TB, stream watchClient) *stelev1.WatchResponse {
	t.Helper()
	resp, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// formatResponse writes a response as a test compares it: ids, what, revision, changes.
func formatResponse(r *stelev1.WatchResponse) string {
	changes := func(cs []*stelev1.Change) (out []string) {
		for _, c := range cs {
			if c.Delete {
				out = append(out, "-"+c.Key)
			} else {
				out = append(out, c.Key+"="+c.Value)
			}
		}
		return out
	}
	slices.Sort(r.Ids)
	switch e := r.Event.(type) {
	case *stelev1.WatchResponse_Created:
		return fmt.Sprint(r.Ids, " created @", e.Created.Snapshot.Revision)
	case *stelev1.WatchResponse_Commit:
		return fmt.Sprint(r.Ids, " commit @", e.Commit.Revision, " ", changes(e.Commit.Changes))
	case *stelev1.WatchResponse_State:
		var entries []string
		for _, e := range e.State.Entries {
			entries = append(entries, fmt.Sprintf("%s=%s@%d", e.Key, e.Value, e.Revision))
		}
		for _, k := range e.State.Deleted {
			entries = append(entries, "-"+k)
		}
		return fmt.Sprint(r.Ids, " state @", e.State.Revision, " ", entries)
	case *stelev1.WatchResponse_Progress:
		return fmt.Sprint(r.Ids, " progress @", e.Progress.Snapshot.Revision)
	case *stelev1.WatchResponse_Canceled:
		return fmt.Sprint(r.Ids, " canceled ", codes.Code(e.Canceled.Status.GetCode()), " resume @", e.Canceled.ResumeRevision)
	}
	return fmt.Sprint(r)
}

func expect(t testing.TB, stream watchClient, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := formatResponse(recv(t, stream)); got != w {
			t.Fatalf("got  %s\nwant %s", got, w)
		}
	}
}

func TestWatch_Selectors(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	f.commit(t, ctx, set("a/x", "1", "b", "1"))
	f.commit(t, ctx, set("a/y", "1"))
	stream := f.watch(t, ctx,
		&stelev1.CreateWatch{Id: 1, Keys: []string{"b"}},
		&stelev1.CreateWatch{Id: 2, Prefixes: []string{"a/"}, InitialState: true},
		&stelev1.CreateWatch{Id: 3, Prefixes: []string{""}, FromRevision: 1},
		&stelev1.CreateWatch{Id: 4, Keys: []string{"a/y", "a/y"}, Prefixes: []string{"a/y", "a/yy"}, FromRevision: 2},
	)
	expect(t, stream,
		"[1] created @2",
		"[2] created @2", "[2] state @2 [a/x=1@1 a/y=1@2]",
		"[3] created @2", "[3] commit @1 [a/x=1 b=1]", "[3] commit @2 [a/y=1]",
		"[4] created @2", "[4] commit @2 [a/y=1]",
	)
	f.commit(t, ctx, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "a/x", Delete: true}, {Key: "b", Value: "2"}, {Key: "c", Value: "3"}}})
	var got []string
	for range 3 {
		got = append(got, formatResponse(recv(t, stream)))
	}
	slices.Sort(got)
	want := []string{"[1] commit @3 [b=2]", "[2] commit @3 [-a/x]", "[3] commit @3 [-a/x b=2 c=3]"}
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	ask(t, stream, &stelev1.WatchRequest{Request: &stelev1.WatchRequest_Progress{Progress: &stelev1.RequestProgress{}}})
	if got, want := formatResponse(recvAny(t, stream)), "[1 2 3 4] progress @3"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	ask(t, stream, &stelev1.WatchRequest{Request: &stelev1.WatchRequest_Cancel{Cancel: &stelev1.CancelWatch{Id: 3}}})
	expect(t, stream, "[3] canceled OK resume @0")
	f.commit(t, ctx, set("b", "3"))
	expect(t, stream, "[1] commit @4 [b=3]")
}

func TestWatch_SameSelectorSharesMessages(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	f.commit(t, ctx, set("a", "0"))
	stream := f.watch(t, ctx,
		&stelev1.CreateWatch{Id: 300, Keys: []string{"a", "b"}},
		&stelev1.CreateWatch{Id: 7, Keys: []string{"b", "a"}})
	expect(t, stream, "[300] created @1", "[7] created @1")
	f.commit(t, ctx, set("a", "1"))
	expect(t, stream, "[7 300] commit @2 [a=1]")
}

func TestWatch_InvalidRequests(t *testing.T) {
	t.Parallel()
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	f.commit(t, ctx, set("a", "0"))
	for _, tc := range []struct {
		name   string
		create *stelev1.CreateWatch
		want   string // only the watch is canceled, with this code
		ends   codes.Code
	}{
		{"a hostile key", &stelev1.CreateWatch{Id: 2, Keys: []string{"a/../b"}}, "[2] canceled InvalidArgument resume @0", 0},
		{"a hostile prefix", &stelev1.CreateWatch{Id: 2, Prefixes: []string{"*a"}}, "[2] canceled InvalidArgument resume @0", 0},
		{"a revision that does not come", &stelev1.CreateWatch{Id: 2, Keys: []string{"a"}, FromRevision: 9}, "[2] canceled Unavailable resume @0", 0},
		{"state and revision", &stelev1.CreateWatch{Id: 2, Keys: []string{"a"}, FromRevision: 1, InitialState: true}, "[2] canceled InvalidArgument resume @0", 0},
		{"an id that is in use", &stelev1.CreateWatch{Id: 1, Keys: []string{"a"}}, "", codes.AlreadyExists},
		{"nothing selected", &stelev1.CreateWatch{Id: 2}, "", codes.InvalidArgument},
		{"no id", &stelev1.CreateWatch{Keys: []string{"a"}}, "", codes.InvalidArgument},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stream := f.watch(t, ctx, &stelev1.CreateWatch{Id: 1, Keys: []string{"a"}}, tc.create)
			if formatResponse(recv(t, stream)); tc.want != "" {
				expect(t, stream, tc.want)
				return
			}
			if _, err := stream.Recv(); status.Code(err) != tc.ends {
				t.Errorf("%v, want %s", err, tc.ends)
			}
		})
	}
}

// A gateway that is behind gets the commits later that a client has seen elsewhere.
func TestWatch_FromARevisionThatIsComing(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	f.commit(t, ctx, set("a", "1"))
	stream := f.watch(t, ctx, &stelev1.CreateWatch{Id: 1, Keys: []string{"a"}, FromRevision: 3})
	f.commit(t, ctx, set("a", "2"))
	f.commit(t, ctx, set("a", "3"))
	f.commit(t, ctx, set("a", "4"))
	if got := formatResponse(recv(t, stream)); !strings.HasPrefix(got, "[1] created ") {
		t.Fatalf("got %s", got)
	}
	expect(t, stream, "[1] commit @3 [a=3]", "[1] commit @4 [a=4]")
}

func TestWatch_SlowIsCanceledAndDelaysNoOther(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	f.commit(t, ctx, set("a", "0"))
	slow := f.watch(t, ctx,
		&stelev1.CreateWatch{Id: 1, Prefixes: []string{""}},
		&stelev1.CreateWatch{Id: 2, Prefixes: []string{""}, NewestOnlyWhenSlow: true})
	expect(t, slow, "[1] created @1", "[2] created @1")
	quick := f.watch(t, ctx, &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}})
	expect(t, quick, "[1] created @1")

	// The slow one reads nothing while 40 MB go by; the quick one gets them all.
	const commits = 90
	large := `"` + strings.Repeat("x", 450<<10) + `"`
	for i := range commits {
		rev := f.commit(t, ctx, set(fmt.Sprintf("k%d", i%3), fmt.Sprintf("[%d,%s]", i, large))).Revision
		if got := recv(t, quick).GetCommit(); got.GetRevision() != rev {
			t.Fatalf("the quick watch got %d, want %d", got.GetRevision(), rev)
		}
	}
	last := uint64(commits + 1)
	seen := map[uint64][]uint64{}
	var resume uint64
	var waited, bytes int
	for newest := uint64(0); resume == 0 || newest < last; {
		resp := recv(t, slow)
		switch e := resp.Event.(type) {
		case *stelev1.WatchResponse_Commit:
			for _, id := range resp.Ids {
				seen[id] = append(seen[id], e.Commit.Revision)
			}
		case *stelev1.WatchResponse_State:
			newest = e.State.Revision
			if len(e.State.Entries) > 3 {
				t.Errorf("the newest state has %d keys, more than there are", len(e.State.Entries))
			}
		case *stelev1.WatchResponse_Canceled:
			if codes.Code(e.Canceled.Status.Code) != codes.ResourceExhausted || resp.Ids[0] != 1 {
				t.Errorf("canceled: %v", resp)
			}
			resume = e.Canceled.ResumeRevision
			if _, err := fmt.Sscanf(e.Canceled.Status.Message, "the watch is too slow: %d messages of %d bytes wait;", &waited, &bytes); err != nil {
				t.Errorf("canceled: %q: %v", e.Canceled.Status.Message, err)
			}
		}
	}
	one := seen[1]
	if waited == 0 || waited > len(one) || bytes < waited*len(large) {
		t.Errorf("it is canceled while %d messages of %d bytes wait, and got %d commits of %d bytes each", waited, bytes, len(one), len(large))
	}
	if len(one) == 0 || one[len(one)-1]+1 != resume {
		t.Fatalf("it got up to %v and is to resume at %d", one, resume)
	}
	again := f.watch(t, ctx, &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}, FromRevision: resume})
	recv(t, again) // created
	for rev := resume; rev <= last; rev++ {
		if got := recv(t, again).GetCommit().GetRevision(); got != rev {
			t.Fatalf("resumed: got %d, want %d", got, rev)
		}
	}
}

// A commit that changes more inherited values than a message holds comes in parts. If it is
// larger than a stream's backlog, a live watch resumes there.
func TestWatch_LargeInheritedCommitComesInParts(t *testing.T) {
	f := startRecorded(t)
	ctx := f.as(t, "acme", identity.Reader)
	large := `"` + strings.Repeat("x", 480<<10) + `"`
	const keys = 7 // of each base, of more than 3 MiB together
	attach := func(first, n int) uint64 {
		t.Helper()
		var list []string
		for b := first; b < first+n; b++ {
			name := fmt.Sprintf("base%d", b)
			var kv []string
			for k := range keys {
				kv = append(kv, fmt.Sprintf("%s/%d", name, k), large)
			}
			f.commit(t, f.as(t, ledger.Tenant(name), identity.Writer), set(kv...))
			list = append(list, fmt.Sprintf(`{"tenant":"%s","revision":1}`, name))
		}
		return f.commit(t, f.actingOperator(t), set("_bases/list", "["+strings.Join(list, ",")+"]")).Revision
	}
	// receive returns the number of parts, and the keys.
	receive := func(stream watchClient, revision uint64) (parts int, changed map[string]bool) {
		t.Helper()
		changed = make(map[string]bool)
		for {
			c := recv(t, stream).GetCommit()
			if c.GetRevision() != revision {
				t.Fatalf("got %v, want a part of @%d", c, revision)
			}
			parts++
			for _, ch := range c.Changes {
				changed[ch.Key] = true
			}
			if !c.More {
				return parts, changed
			}
		}
	}
	live := f.watch(t, ctx, &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}})
	expect(t, live, "[1] created @0")
	rev := attach(0, 3)
	parts, changed := receive(live, rev)
	if parts != 3 || len(changed) != 3*keys+1 {
		t.Errorf("the live watch got %d keys in %d parts", len(changed), parts)
	}
	past := f.watch(t, ctx, &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}, FromRevision: rev})
	recv(t, past) // created
	if again, found := receive(past, rev); again != parts || !maps.Equal(found, changed) {
		t.Errorf("the watch of the past got %d keys in %d parts", len(found), again)
	}
	one := f.watch(t, ctx, &stelev1.CreateWatch{Id: 1, Keys: []string{"base1/3"}, FromRevision: rev})
	recv(t, one) // created
	if parts, found := receive(one, rev); parts != 1 || len(found) != 1 {
		t.Errorf("the watch of one key got %d keys in %d parts", len(found), parts)
	}

	rev = attach(3, 5) // and removes the others: it is larger than the backlog
	canceled := recv(t, live).GetCanceled()
	if canceled.GetResumeRevision() != rev {
		t.Fatalf("a commit that does not fit into the backlog: %v", canceled)
	}
	resumed := f.watch(t, ctx, &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}, FromRevision: rev, AfterId: canceled.ResumeAfterId})
	recv(t, resumed) // created
	if parts, changed = receive(resumed, rev); len(changed) != 8*keys+1 {
		t.Errorf("the resumed watch got %d keys in %d parts", len(changed), parts)
	}
}

// event is one commit as a watch received it.
type event struct {
	revision uint64
	changes  []*stelev1.Change
}

// history is what was committed, by revision.
type history map[uint64][]*stelev1.Change

// The promises that a watch keeps, each with the check that would see it broken.
// select says which changes the watch selects.
var promises = map[string]func(h history, from, to uint64, selects func(string) bool, got []event) error{
	"ordered": func(_ history, _, _ uint64, _ func(string) bool, got []event) error {
		for i := 1; i < len(got); i++ {
			if got[i].revision < got[i-1].revision {
				return fmt.Errorf("%d after %d", got[i].revision, got[i-1].revision)
			}
		}
		return nil
	},
	"unique": func(_ history, _, _ uint64, _ func(string) bool, got []event) error {
		seen := map[uint64]bool{}
		for _, e := range got {
			if seen[e.revision] {
				return fmt.Errorf("%d twice", e.revision)
			}
			seen[e.revision] = true
		}
		return nil
	},
	"reliable": func(h history, from, to uint64, selects func(string) bool, got []event) error {
		have := map[uint64]bool{}
		for _, e := range got {
			have[e.revision] = true
		}
		for r := from; r <= to; r++ {
			if slices.ContainsFunc(h[r], func(c *stelev1.Change) bool { return selects(c.Key) }) && !have[r] {
				return fmt.Errorf("%d is missing", r)
			}
		}
		return nil
	},
	"atomic": func(h history, _, _ uint64, selects func(string) bool, got []event) error {
		for _, e := range got {
			var want, have []string
			for _, c := range h[e.revision] {
				if selects(c.Key) {
					want = append(want, fmt.Sprint(c.Key, c.Value, c.Delete))
				}
			}
			for _, c := range e.changes {
				have = append(have, fmt.Sprint(c.Key, c.Value, c.Delete))
			}
			if !slices.Equal(want, have) {
				return fmt.Errorf("%d holds %v, want %v", e.revision, have, want)
			}
		}
		return nil
	},
}

func TestWatch_Guarantees(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	const writers, each, watchers = 4, 60, 12
	var mu sync.Mutex
	h := history{}
	commit := func(r *rand.Rand) {
		req := &stelev1.CommitRequest{AllowEmpty: true}
		for _, k := range r.Perm(6)[:1+r.IntN(5)] {
			req.Changes = append(req.Changes, &stelev1.Change{Key: fmt.Sprintf("k%d/x", k), Value: fmt.Sprint(r.IntN(100))})
		}
		if r.IntN(4) == 0 {
			req.Changes[0].Value, req.Changes[0].Delete = "", true
		}
		rev := f.commit(t, ctx, req).Revision
		mu.Lock()
		h[rev] = req.Changes
		mu.Unlock()
	}
	for range 20 {
		commit(rand.New(rand.NewPCG(1, 2)))
	}
	const last = 20 + writers*each
	type watched struct {
		selects func(string) bool
		from    uint64
		got     []event
	}
	results := make([]watched, watchers)
	var watching, writing sync.WaitGroup
	for i := range watchers {
		w := &results[i]
		create := &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}, FromRevision: uint64(i + 1)}
		w.selects, w.from = func(string) bool { return true }, create.FromRevision
		if i%2 == 1 {
			create.Prefixes, create.Keys = []string{"k1"}, []string{"k3/x"}
			w.selects = func(k string) bool { return k == "k1/x" || k == "k3/x" }
		}
		watching.Go(func() {
			// Every so often the connection is given up, and the watch resumed.
			for next := w.from; next <= last; {
				short, cancel := context.WithCancel(ctx)
				create.FromRevision = next
				stream := f.watch(t, short, create)
				for n := 0; n < 50 && next <= last; n++ {
					resp, err := stream.Recv()
					if err != nil {
						t.Error(err)
						cancel()
						return
					}
					if c := resp.GetCommit(); c != nil {
						w.got = append(w.got, event{c.Revision, c.Changes})
						next = c.Revision + 1
					}
					if p := resp.GetProgress(); p != nil {
						next = max(next, p.Snapshot.Revision+1) // nothing up to here is missing
					}
					if n%10 == 0 {
						ask(t, stream, &stelev1.WatchRequest{Request: &stelev1.WatchRequest_Progress{Progress: &stelev1.RequestProgress{}}})
					}
					if next > last-1 { // the last commits may not concern this watch
						ask(t, stream, &stelev1.WatchRequest{Request: &stelev1.WatchRequest_Progress{Progress: &stelev1.RequestProgress{}}})
					}
				}
				cancel()
			}
		})
	}
	for i := range writers {
		writing.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 9))
			for range each {
				commit(r)
			}
		})
	}
	writing.Wait()
	watching.Wait()
	if len(h) != last {
		t.Fatalf("%d commits, want %d", len(h), last)
	}
	for i, w := range results {
		for _, name := range slices.Sorted(maps.Keys(promises)) {
			if err := promises[name](h, w.from, last, w.selects, w.got); err != nil {
				t.Errorf("watch %d is not %s: %v", i, name, err)
			}
		}
	}
}

// A check that cannot see a broken promise proves nothing: each is shown one.
func TestWatchChecks_CatchMutants(t *testing.T) {
	h := history{}
	var whole []event
	for r := uint64(1); r <= 5; r++ {
		h[r] = []*stelev1.Change{{Key: "a", Value: fmt.Sprint(r)}, {Key: "b", Value: fmt.Sprint(r)}}
		whole = append(whole, event{r, h[r]})
	}
	all := func(string) bool { return true }
	mutants := map[string]func(got []event) []event{
		"ordered":  func(got []event) []event { got[1], got[2] = got[2], got[1]; return got },
		"unique":   func(got []event) []event { return slices.Insert(got, 3, got[2]) },
		"reliable": func(got []event) []event { return slices.Delete(got, 2, 3) },
		"atomic":   func(got []event) []event { got[2].changes = got[2].changes[:1]; return got },
	}
	for name, check := range promises {
		if err := check(h, 1, 5, all, slices.Clone(whole)); err != nil {
			t.Errorf("%s refuses a history that keeps it: %v", name, err)
		}
		if err := check(h, 1, 5, all, mutants[name](slices.Clone(whole))); err == nil {
			t.Errorf("%s accepts a history that breaks it", name)
		}
	}
}

func TestWatch_ClosingGatewayAsksToReconnect(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	stream := f.watch(t, ctx, &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}})
	expect(t, stream, "[1] created @0")
	closed := make(chan struct{})
	go func() { f.gateway.Close(); close(closed) }()
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable && !errors.Is(err, io.EOF) {
		t.Errorf("%v, want UNAVAILABLE", err)
	}
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("Close does not return")
	}
}
