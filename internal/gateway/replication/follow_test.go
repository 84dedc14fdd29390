package replication_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/porttest"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// cutter is a proxy that cuts each connection after some bytes from the upstream.
func cutter(t *testing.T, to string, after func() int64) (address string, cuts *atomic.Int32) {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	cuts = &atomic.Int32{}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			stop := context.AfterFunc(ctx, func() { in.Close(); out.Close() })
			running.Go(func() { io.Copy(out, in); out.Close() })
			running.Go(func() {
				defer stop()
				io.CopyN(in, out, after())
				in.Close()
				out.Close()
				cuts.Add(1)
			})
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); running.Wait() })
	return l.Addr().String(), cuts
}

// Every tenant's history at an edge of an edge of an edge equals the core's, with commits
// that arrive during the catch-up and connections that are cut after more and more bytes.
func TestFollow_EqualsCore(t *testing.T) {
	w := startWorld(t)
	tenants := []ledger.Tenant{"acme", "globex", "initech"}
	w.fill(t, 300, tenants...)
	var writing sync.WaitGroup
	writing.Go(func() { w.fill(t, 300, tenants...) })
	budget := int64(500)
	flaky, cuts := cutter(t, w.core.address, func() int64 { budget = budget * 8 / 5; return budget })
	all := w.edge(t, edgeConfig{upstreams: []string{flaky}})
	some := w.edge(t, edgeConfig{upstreams: []string{all.address}, tenants: []ledger.Tenant{"acme", "globex"}})
	one := w.edge(t, edgeConfig{upstreams: []string{some.address}, tenants: []ledger.Tenant{"globex"}})
	writing.Wait()
	w.write(t, ledger.System, "policy/acme/limits", `{}`)
	w.write(t, "hooli", "a/b", "1") // a new tenant
	w.equal(t, all, append(tenants, "hooli", ledger.System)...)
	w.equal(t, some, "acme", "globex", ledger.System)
	w.equal(t, one, "globex", ledger.System)
	for g, hidden := range map[*gw][]ledger.Tenant{some: {"initech", "hooli"}, one: {"acme", "initech", "hooli"}} {
		for _, tenant := range hidden {
			if n := len(history(g.replica, tenant)); n > 0 {
				t.Errorf("an edge has %d commits of %s, which it did not ask for", n, tenant)
			}
		}
	}
	want := strings.Join([]string{one.address, some.address, all.address, w.core.address}, " > ")
	until(t, "the path "+want, func() bool { return one.client.Path().String() == want })
	until(t, "a proof through two edges", func() bool { return one.client.Status()[0].Verified != nil })
	if cuts.Load() == 0 {
		t.Error("no connection was cut")
	}
	t.Logf("%d connections were cut", cuts.Load())
}

// Upstreams that end at random while commits come in leave no gap, in the history nor in
// a watch of another gateway.
func TestFollow_FailoverWithoutGap(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 10, "acme")
	a := w.edge(t, edgeConfig{upstreams: []string{w.core.address}})
	b := w.edge(t, edgeConfig{upstreams: []string{w.core.address}})
	e := w.edge(t, edgeConfig{upstreams: []string{a.address, b.address}, tenants: []ledger.Tenant{"acme"}})
	w.equal(t, e, "acme")

	ctx, cancel := context.WithCancel(w.admin(t, "acme"))
	defer cancel()
	watch, err := e.config.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	begin := uint64(w.node.Replica.Head("acme").Revision)
	if err := watch.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}, FromRevision: begin + 1}}}); err != nil {
		t.Fatal(err)
	}
	const rounds, each = 4, 40
	seen := make(chan error, 1)
	go func() {
		next := begin + 1
		for next <= begin+rounds*each {
			m, err := watch.Recv()
			if err != nil {
				seen <- err
				return
			}
			c := m.GetCommit()
			if c == nil {
				if m.GetCanceled() != nil {
					seen <- fmt.Errorf("the watch ends: %v", m)
					return
				}
				continue
			}
			if c.Revision != next {
				seen <- fmt.Errorf("the watch shows @%d after @%d", c.Revision, next-1)
				return
			}
			next++
		}
		seen <- nil
	}()
	for range rounds {
		w.fill(t, each/2, "acme")
		victim, dir := &a, a.dir
		if e.client.Status()[1].Following {
			victim, dir = &b, b.dir
		}
		address := (*victim).address
		(*victim).stop()
		w.fill(t, each/2, "acme")
		w.equal(t, e, "acme")
		*victim = w.edge(t, edgeConfig{upstreams: []string{w.core.address}, dir: dir, address: address})
		w.equal(t, *victim, "acme")
	}
	if err := <-seen; err != nil {
		t.Error(err)
	}
}

// An edge whose upstreams are all away serves what it has, says how old that is, and
// continues by itself.
func TestFollow_WithoutUpstream(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 10, "acme")
	w.write(t, ledger.System, "policy/acme/reads", `{"record":["secret/"]}`)
	w.write(t, "acme", "secret/a", "1")
	dir := t.TempDir()
	mid := w.edge(t, edgeConfig{upstreams: []string{w.core.address}, dir: dir})
	e := w.edge(t, edgeConfig{upstreams: []string{mid.address}, tenants: []ledger.Tenant{"acme"}})
	w.equal(t, e, "acme", ledger.System)
	reader := w.as(t, identity.Claims{Subject: "rita", Tenant: "acme", Roles: []identity.Role{identity.Reader, identity.Auditor}})
	get := func(key string) (*stelev1.GetResponse, error) {
		return e.config.Get(reader, &stelev1.GetRequest{Key: key})
	}
	if _, err := get("secret/a"); err != nil {
		t.Fatal(err)
	}
	listed, err := e.ledger.ListReads(reader, &stelev1.ListReadsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, r := range listed.Reads {
		if r.Subject == "rita" && r.Keys[0] == "secret/a" {
			found++
		} else if r.Method != stelev1.Replication_Follow_FullMethodName || r.Subject != "edge" {
			t.Errorf("an unexpected record: %v", r)
		}
	}
	if found != 1 {
		t.Errorf("the ledger has %d records of a read at the edge of an edge: %v", found, listed)
	}

	began := time.Now()
	resp, err := get("a/1")
	if err != nil {
		t.Fatal(err)
	}
	followed := resp.Snapshot.Age.AsDuration()
	mid.stop()
	until(t, "an edge without an upstream", func() bool { return !e.client.Status()[0].Following })
	if resp, err = get("a/1"); err != nil {
		t.Fatal(err)
	}
	first := resp.Snapshot.Age.AsDuration()
	if resp, err = get("a/1"); err != nil || resp.Snapshot.Age.AsDuration() <= first || resp.Snapshot.Age.AsDuration() > followed+time.Since(began) {
		t.Errorf("the age goes from %s to %s, %s after it was %s: %v", first, resp.GetSnapshot().GetAge().AsDuration(), time.Since(began), followed, err)
	}
	if _, err := get("secret/a"); status.Code(err) != codes.Unavailable || reason(err) != "NOT_RECORDED" {
		t.Errorf("a read that cannot be recorded: %v", err)
	}
	if _, err := e.ledger.ListReads(reader, &stelev1.ListReadsRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("a call that only an upstream can answer: %v", err)
	}
	rev := w.write(t, "acme", "a/while", "1")
	w.edge(t, edgeConfig{upstreams: []string{w.core.address}, dir: dir, address: mid.address})
	w.equal(t, e, "acme")
	if _, err := get("secret/a"); err != nil {
		t.Errorf("a read to be recorded, with the upstream back: %v", err)
	}
	if got, err := get("a/while"); err != nil || got.Entry.Revision != uint64(rev) {
		t.Errorf("a commit of the outage: %v, %v", got, err)
	}
}

// An edge that no upstream has answered yet reports the one that it tries, and not that it
// follows the journal.
func TestReports_EdgeWithoutUpstream(t *testing.T) {
	w := startWorld(t)
	dead := porttest.Free(t, 1)[0]
	e := w.edge(t, edgeConfig{upstreams: []string{dead}})
	if reports := e.gateway.Reports(); len(reports) != 1 || !slices.Equal(reports[0].Path, []string{dead}) {
		t.Errorf("the edge reports %v, want the path %s", reports, dead)
	}
}

// Ages add up: an edge is never younger than its upstream was when it was asked.
func TestFollow_AgesAddUp(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 3, "acme")
	mid := w.edge(t, edgeConfig{upstreams: []string{w.core.address}})
	e := w.edge(t, edgeConfig{upstreams: []string{mid.address}, tenants: []ledger.Tenant{"acme"}})
	w.equal(t, e, "acme")
	until(t, "an edge of the edge that is current", e.replica.Ready)
	for range 20 {
		core, _ := w.node.Replica.Progress()
		low, _ := e.replica.Progress() // read first
		m, _ := mid.replica.Progress() // may have moved since
		top, _ := w.node.Replica.Progress()
		if low.Current.After(m.Current) || m.Current.After(top.Current) {
			t.Fatalf("the edge is current at %s, its upstream at %s, the core at %s (%s)", low.Current, m.Current, top.Current, core.Current)
		}
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
	}
}

func TestFollow_CycleIsRefused(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 3, "acme")
	for _, n := range []int{2, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			gateways := make([]*gw, n)
			gateways[0] = w.edge(t, edgeConfig{upstreams: []string{w.core.address}})
			for i := 1; i < n; i++ {
				gateways[i] = w.edge(t, edgeConfig{upstreams: []string{gateways[i-1].address}})
			}
			w.equal(t, gateways[n-1], "acme")
			until(t, "paths", func() bool { return len(gateways[n-1].client.Path()) == n+1 })
			// The first is started again, with the last as its upstream. It keeps its identity,
			// as a process keeps its own while an operator moves an address.
			gateways[0].stop()
			first := w.edge(t, edgeConfig{upstreams: []string{gateways[n-1].address}, dir: gateways[0].dir, address: gateways[0].address})
			until(t, "a cycle that is found", func() bool {
				for _, g := range append([]*gw{first}, gateways[1:]...) {
					if st := g.client.Status()[0]; strings.Contains(st.Error, "in a cycle") {
						return strings.Count(st.Error, g.address) >= 2 && strings.Count(st.Error, " > ") >= n
					}
				}
				return false
			})
			// Forwarded calls do not circulate forever.
			ctx, cancel := context.WithTimeout(w.admin(t, "acme"), time.Minute)
			defer cancel()
			_, err := stelev1.NewProofClient(first.conn).GetCheckpoint(ctx, &stelev1.GetCheckpointRequest{})
			if code := status.Code(err); code != codes.FailedPrecondition && code != codes.Unavailable {
				t.Errorf("a call that goes round: %v", err)
			}
		})
	}
}

// An upstream that does not have yet what the edge has is passed over.
func TestFollow_UpstreamBehind(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 10, "acme")
	behind := w.edge(t, edgeConfig{upstreams: []string{w.core.address}})
	w.equal(t, behind, "acme")
	dir, address := behind.dir, behind.address
	until(t, "ready", behind.replica.Ready)
	behind.stop()
	w.fill(t, 10, "acme")
	edgeDir := t.TempDir()
	e := w.edge(t, edgeConfig{upstreams: []string{w.core.address}, tenants: []ledger.Tenant{"acme"}, dir: edgeDir})
	w.equal(t, e, "acme")
	e.stop()
	dead := listen(t, "127.0.0.1:0") // an upstream's upstream that never answers
	defer dead.Close()
	w.edge(t, edgeConfig{upstreams: []string{dead.Addr().String()}, dir: dir, address: address})
	e = w.edge(t, edgeConfig{upstreams: []string{address, w.core.address}, tenants: []ledger.Tenant{"acme"}, dir: edgeDir})
	until(t, "the upstream that is not behind", func() bool { return e.client.Status()[1].Following })
	if st := e.client.Status()[0]; !strings.Contains(st.Error, "behind the edge") {
		t.Errorf("the state of the upstream that is behind: %v", st)
	}
	w.equal(t, e, "acme")
}

// An edge whose file is damaged builds it again from its upstream.
func TestFollow_DamagedReplicaIsRebuilt(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 200, "acme")
	dir := t.TempDir()
	e := w.edge(t, edgeConfig{upstreams: []string{w.core.address}, tenants: []ledger.Tenant{"acme"}, dir: dir})
	w.equal(t, e, "acme")
	e.stop()
	path := filepath.Join(dir, "replica.db")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	e = w.edge(t, edgeConfig{upstreams: []string{w.core.address}, tenants: []ledger.Tenant{"acme"}, dir: dir})
	w.equal(t, e, "acme") // with its data
	e.stop()
	for name, b := range map[string][]byte{"cut": whole[:len(whole)/3], "empty": nil, "noise": slices.Repeat([]byte("noise"), len(whole)/5)} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		e = w.edge(t, edgeConfig{upstreams: []string{w.core.address}, tenants: []ledger.Tenant{"acme"}, dir: dir})
		w.equal(t, e, "acme")
		w.write(t, "acme", "a/"+name, "1")
		w.equal(t, e, "acme")
		e.stop()
	}
}

// A client of an edge with --forward-writes reads what it wrote; without, it learns where
// to write.
func TestForward_Writes(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 5, "acme")
	mid := w.edge(t, edgeConfig{upstreams: []string{w.core.address}, forward: true})
	e := w.edge(t, edgeConfig{upstreams: []string{mid.address}, tenants: []ledger.Tenant{"acme"}, forward: true})
	ro := w.edge(t, edgeConfig{upstreams: []string{w.core.address}, tenants: []ledger.Tenant{"acme"}})
	w.equal(t, e, "acme")
	w.equal(t, ro, "acme")
	admin := w.admin(t, "acme")
	set := func(key, value string) *stelev1.CommitRequest {
		return &stelev1.CommitRequest{RequestId: key + value, Changes: []*stelev1.Change{{Key: key, Value: value}}}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		resp, err := e.ledger.Commit(admin, set("b/key", fmt.Sprint(i)))
		must(err)
		got, err := e.config.Get(admin, &stelev1.GetRequest{Key: "b/key"})
		if err != nil || got.Entry.Value != fmt.Sprint(i) || got.Entry.Revision != resp.Revision {
			t.Fatalf("after @%d was written, the edge answers %v, %v", resp.Revision, got, err)
		}
	}
	stream, err := e.ledger.CommitStream(admin)
	must(err)
	const many = 50
	for i := range many {
		must(stream.Send(&stelev1.CommitStreamRequest{Commit: set("c/key", fmt.Sprint(i))}))
	}
	must(stream.CloseSend())
	var last uint64
	for i := range many {
		resp, err := stream.Recv()
		must(err)
		if last = resp.GetCommit().GetRevision(); last != uint64(25+i+1) {
			t.Fatalf("the answer %d of the stream is @%d", i, last)
		}
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("the stream ends with %v", err)
	}
	got, err := e.config.Get(admin, &stelev1.GetRequest{Key: "c/key"})
	if err != nil || got.Entry.Revision != last {
		t.Errorf("after the stream, the edge answers %v, %v", got, err)
	}
	// The edge itself refuses the third of these change sets.
	stream, err = e.ledger.CommitStream(admin)
	must(err)
	for i := range 3 {
		req := set("d/key", fmt.Sprint(i))
		req.RequestId = strings.Repeat("r", 1000*(i/2)) + fmt.Sprint(i)
		must(stream.Send(&stelev1.CommitStreamRequest{Commit: req}))
	}
	for range 2 {
		_, err := stream.Recv()
		must(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument || !strings.Contains(fmt.Sprint(status.Convert(err).Details()), `value:"2"`) {
		t.Errorf("a request id of 1,001 bytes: %v, %v", err, status.Convert(err).Details())
	}
	plan, err := e.ledger.Plan(admin, &stelev1.PlanRequest{Commit: set("c/key", `"planned"`)})
	if err != nil || plan == nil {
		t.Errorf("Plan: %v", err)
	}
	_, err = e.ledger.Rollback(admin, &stelev1.RollbackRequest{To: &stelev1.At{Point: &stelev1.At_Revision{Revision: 25}}})
	must(err)
	if _, err := e.config.Get(admin, &stelev1.GetRequest{Key: "c/key"}); status.Code(err) != codes.NotFound {
		t.Errorf("after the rollback: %v", err)
	}
	_, err = e.ledger.Revert(admin, &stelev1.RevertRequest{Revisions: []uint64{uint64(w.node.Replica.Head("acme").Revision)}})
	must(err)
	if got, err := e.config.Get(admin, &stelev1.GetRequest{Key: "c/key"}); err != nil || got.Entry.Value != fmt.Sprint(many-1) {
		t.Errorf("after the revert: %v, %v", got, err)
	}
	// The caller's own rights count.
	reader := w.as(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}})
	if _, err := e.ledger.Commit(reader, set("b/key", "1")); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a reader's write: %v", err)
	}

	// Without --forward-writes.
	_, err = ro.ledger.Commit(admin, set("b/key", "1"))
	to := ""
	for _, d := range status.Convert(err).Details() {
		if in, ok := d.(*errdetails.ErrorInfo); ok && in.Reason == "READ_ONLY" {
			to = in.Metadata["write_to"]
		}
	}
	if status.Code(err) != codes.FailedPrecondition || to != w.core.address {
		t.Errorf("a write to an edge that does not forward: %v, write_to %q, want %s", err, to, w.core.address)
	}
	// Proofs are forwarded in any case.
	until(t, "a checkpoint at the edge of an edge", func() bool {
		_, err := stelev1.NewProofClient(e.conn).GetCheckpoint(admin, &stelev1.GetCheckpointRequest{CoversRevision: last})
		return err == nil
	})
	// A write whose connection breaks is not reported as failed.
	mid.stop()
	if _, err := e.ledger.Commit(admin, set("b/key", "lost")); status.Code(err) != codes.Unavailable || reason(err) != "OUTCOME_UNKNOWN" {
		t.Errorf("a write without an upstream: %v (%s)", err, reason(err))
	}
}
