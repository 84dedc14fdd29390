package node_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
)

// TestIsolation_HostileCalls calls every method that is served with anything that
// may find a way around: callers of one tenant who try to read another's data, and
// callers with prefixes who try to read the rest of their own. Everything in the
// answers, including errors and later messages of streams, is searched for data that
// they must not see. Whether a key is set is asked in pairs of calls, which must not
// differ.
//
// STELE_HOSTILE_CALLS is the number of calls (4,000), and STELE_HOSTILE_SEED repeats
// the random choices.
func TestIsolation_HostileCalls(t *testing.T) {
	calls := number(t, "STELE_HOSTILE_CALLS", 4_000)
	seed := number(t, "STELE_HOSTILE_SEED", 1)
	w := startWorld(t)
	begun := time.Now()
	thieves := &siege{world: w, callers: w.thieves(t), seed: uint64(seed), left: int64(calls)}
	thieves.run(t)
	took := time.Since(begun).Round(time.Millisecond)

	for _, l := range thieves.leaks {
		t.Error(l)
	}
	for _, m := range w.methods {
		enough := 200 // one in thirty requests is one that some caller may make
		if m.name == stelev1.Ledger_Revert_FullMethodName {
			enough = 2_000 // of a commit that has changed only keys of the caller's, and no commit since
		}
		if thieves.called[m.name] > enough && thieves.answered[m.name] == 0 && !slices.Contains(deniedToAll, m.name) {
			t.Errorf("%s: none of %d calls was answered: they cannot have found anything", m.name, thieves.called[m.name])
		}
	}
	for name := range policy.Methods {
		if !strings.HasPrefix(name, "/grpc.") && thieves.called[name] == 0 {
			t.Errorf("%s is in the table of methods and was never called", name)
		}
	}
	for _, v := range victims {
		w.untouched(t, v)
	}
	fmt.Printf("isolation: %d calls of %d methods, %d answered, %d pairs compared, in %s with seed %d: %d leaks\n",
		calls, len(w.methods), total(thieves.answered), thieves.pairs, took, seed, len(thieves.leaks))

	// What would have leaked is there to be found: its owner finds it.
	// It only reads at first: its own writes may take away what a method would find. Few of the
	// requests of some methods find anything, so it calls them until each has, and makes the
	// commits that they need.
	owner := &siege{world: w, callers: w.owners(), seed: uint64(seed), calls: reads, left: 5_000}
	owner.run(t)
	searched := func(m *method) bool { return owner.found[m.name] > 0 == !slices.Contains(withoutTenantData, m.name) }
	for range 40 {
		missing := make(map[string]bool)
		for _, m := range w.methods {
			missing[m.name] = !searched(m) || m.name == stelev1.Ledger_Commit_FullMethodName
		}
		owner.calls = func(m *method) bool { return missing[m.name] }
		owner.seed, owner.left = owner.seed+1, 5_000
		owner.run(t)
		if !slices.ContainsFunc(w.methods, func(m *method) bool { return !searched(m) }) {
			break
		}
	}
	for _, m := range w.methods {
		if !searched(m) {
			t.Errorf("%s: the owner's own data came back in %d of %d answers; the search for it or the requests are too weak",
				m.name, owner.found[m.name], owner.answered[m.name])
		}
	}
}

// deniedToAll are for operators and edges, or answer only for a sink that has stopped.
var deniedToAll = []string{
	"/stele.v1.Ledger/ListAllCommits", "/stele.v1.Ledger/WatchAllCommits", "/stele.v1.Ledger/ListTenants", "/stele.v1.Ledger/ListGateways", "/stele.v1.Ledger/ShredTenant", "/stele.v1.Ledger/RotateTenantKey", "/stele.v1.Ledger/ResetTenantClock",
	"/stele.v1.Sinks/GetRoutes", "/stele.v1.Sinks/PlanRoutes", "/stele.v1.Sinks/ResolveDrift", "/stele.v1.Bases/PreviewBaseChange",
	"/stele.v1.Replication/Follow", "/stele.v1.Replication/Prove", "/stele.v1.Replication/RecordRead",
}

// withoutTenantData lists the methods whose answers contain none of the searched data; of
// drift, because no sink is edited here.
var withoutTenantData = []string{
	"/stele.v1.Ledger/Commit", "/stele.v1.Ledger/CommitStream", "/stele.v1.Ledger/CountCommits", "/stele.v1.Ledger/GetHead", "/stele.v1.Ledger/ListTenants", "/stele.v1.Ledger/ListGateways", "/stele.v1.Ledger/ShredTenant", "/stele.v1.Ledger/RotateTenantKey", "/stele.v1.Ledger/ResetTenantClock",
	"/stele.v1.Ledger/ListAllCommits", "/stele.v1.Ledger/WatchAllCommits",
	"/stele.v1.Proof/GetCheckpoint", "/stele.v1.Proof/ProveConsistency", "/stele.v1.Schemas/CheckValue",
	"/stele.v1.Replication/Follow", "/stele.v1.Replication/Prove", "/stele.v1.Replication/RecordRead",
	"/stele.v1.Sinks/ListSinks", "/stele.v1.Sinks/ListDrift", "/stele.v1.Sinks/CheckDrift", "/stele.v1.Sinks/Replay", "/stele.v1.Sinks/Retry", "/stele.v1.Sinks/Skip", "/stele.v1.Sinks/GetRoutes",
	"/stele.v1.Sinks/ResolveDrift", "/stele.v1.Sinks/PlanRoutes", "/stele.v1.Bases/ListBases", "/stele.v1.Bases/PreviewBaseChange",
	"/flagd.sync.v1.FlagSyncService/GetMetadata", "/configuration.ConfigService/healthCheck", "/configuration.ConfigService/refreshConfig",
}

func number(t *testing.T, name string, usual int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func total(of map[string]int) (n int) {
	for _, c := range of {
		n += c
	}
	return n
}

// siege is some calls, made by several workers.
type siege struct {
	world   *world
	callers []*attacker
	seed    uint64
	left    int64 // calls, counted down
	// calls selects methods; nil stands for all.
	calls func(*method) bool

	mu       sync.Mutex // guards what follows
	called   map[string]int
	answered map[string]int // without an error
	found    map[string]int // answers with data that must not be in them
	leaks    []string
	pairs    int
}

const workers = 16

func (s *siege) run(t *testing.T) {
	if s.called == nil {
		s.called, s.answered, s.found = make(map[string]int), make(map[string]int), make(map[string]int)
	}
	var running sync.WaitGroup
	for i := range workers {
		g := &generator{Rand: rand.New(rand.NewPCG(s.seed, uint64(i))), pool: s.world.pool}
		running.Go(func() {
			for t.Context().Err() == nil {
				m := s.world.methods[g.weighted(s.world.weights)]
				if s.calls != nil && !s.calls(m) {
					continue
				}
				if atomic.AddInt64(&s.left, -1) < 0 {
					return
				}
				c := &call{siege: s, generator: g, method: m, by: s.callers[g.IntN(len(s.callers))]}
				c.make(t.Context())
			}
		})
	}
	running.Wait()
}

// reads reports whether a method changes nothing.
func reads(m *method) bool {
	row := policy.Methods[m.name]
	return row == nil || !row.Writes && row.Needs != policy.OperatorAdmin && row.Needs != policy.OperatorOnly
}

// note counts a call, and searches its answers.
func (s *siege) note(c *call, sent [][]byte, came [][]byte, code codes.Code) {
	leak := c.by.search(c.method, sent, came)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.called[c.method.name]++
	if code == codes.OK {
		s.answered[c.method.name]++
	}
	if leak == "" {
		return
	}
	if code == codes.OK {
		s.found[c.method.name]++
	}
	if len(s.leaks) < 20 {
		s.leaks = append(s.leaks, fmt.Sprintf("%s by %s contains %q:\nrequest %q\nanswer %q", c.method.name, c.by.name, leak, sent, came))
	}
}

// paired notes that two calls were compared that differ by a key alone, one that is
// set and one that is not.
func (s *siege) paired(c *call, set, unset string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pairs++
	if set != unset && len(s.leaks) < 20 {
		s.leaks = append(s.leaks, fmt.Sprintf("%s by %s reveals whether a key is set:\nset   %s\nunset %s", c.method.name, c.by.name, set, unset))
	}
}

// untouched fails if another caller has written to the victim.
func (w *world) untouched(t *testing.T, victim ledger.Tenant) {
	t.Helper()
	authors := make(map[string]int)
	req := &stelev1.ListCommitsRequest{PageSize: 1000, OmitValues: true}
	for {
		resp, err := w.ledger.ListCommits(w.owner[victim], req)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range resp.Commits {
			author := info.Commit.Author
			if in := info.Commit.Origin.GetImport(); in != nil {
				author = in.Importer
			}
			authors[author]++
			for _, ch := range info.Commit.Changes {
				if !strings.HasPrefix(ch.Key, openPrefix) && author != ownerName {
					t.Errorf("%s changed %s in %s@%d", author, ch.Key, victim, info.Commit.Revision)
				}
			}
		}
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			break
		}
	}
	for _, author := range slices.Sorted(maps.Keys(authors)) {
		if !strings.HasPrefix(author, ownerName) && !strings.HasPrefix(author, insiderName) {
			t.Errorf("%s has made %d commits in %s", author, authors[author], victim)
		}
	}
}

var quiet = slog.New(slog.DiscardHandler)

// Two tenants have what others are after. One lets its callers do what their roles
// say, as far as their tokens go, the other what its grants say.
var victims = [2]ledger.Tenant{"vault-5e1f-roles", "vault-5e1f-grants"}

const (
	victimName               = "vault-5e1f" // is in both names
	thief      ledger.Tenant = "thief"
)

func (w *world) commit(t *testing.T, ctx context.Context, req *stelev1.CommitRequest) {
	t.Helper()
	if _, err := w.ledger.Commit(ctx, req); err != nil {
		t.Fatal(err)
	}
}
