package gateway_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/directory"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// sinkFixture is a gateway with a projector that writes everything to files.
type sinkFixture struct {
	*fixture
	sinks  stelev1.SinksClient
	folder string
	// project starts the projector, whose end is stop.
	project func()
	stop    func()
}

// controlOf asks the sinks of a node. The gateway's first sample of their lags may come
// before the node is known, which it is once started is closed.
func controlOf(t *testing.T, started <-chan struct{}, node func() *ledgertest.Node) func() (gateway.Sinks, error) {
	return func() (gateway.Sinks, error) {
		select {
		case <-started:
		case <-t.Context().Done():
			return nil, ledger.ErrUnavailable
		}
		n := node()
		return &projector.Control{Conn: n.Conn, Journal: n.Journal, Replica: n.Replica}, nil
	}
}

func startSinks(t *testing.T) *sinkFixture {
	t.Helper()
	f := &sinkFixture{stop: func() {}}
	dir := t.TempDir()
	f.folder = filepath.Join(dir, "files")
	var source *routes.Source
	started := make(chan struct{})
	f.fixture = startRecorded(t, routed(t, `{"sinks":{"files":{"kind":"directory"}},"routes":[{"prefix":"","sinks":["files"]}]}`), func(c *gateway.Config) {
		source = c.Routes
		c.Sinks = controlOf(t, started, func() *ledgertest.Node { return f.node })
	})
	close(started)
	f.sinks = stelev1.NewSinksClient(f.conn)
	f.project = func() {
		p, err := projector.Start(t.Context(), projector.Config{
			Replica: f.node.Replica, Journal: f.node.Journal, Conn: f.node.Conn, Ledger: f.node.Ledger, Routes: source, Alone: true,
			Kinds: map[string]projector.Kind{"directory": directory.Open}, Dir: dir,
		})
		if err != nil {
			t.Fatal(err)
		}
		f.stop = p.Close
	}
	t.Cleanup(func() { f.stop() })
	return f
}

// all is a context of an operator who acts for no tenant.
func (f *fixture) all(t testing.TB) context.Context {
	return bearer(t.Context(), f.token(t, identity.Claims{Subject: "olga", Roles: []identity.Role{identity.Operator}}))
}

// file is a sink of a caller's; nil while it is unknown.
func (f *sinkFixture) file(t testing.TB, ctx context.Context) *stelev1.SinkStatus {
	t.Helper()
	resp, err := f.sinks.ListSinks(ctx, &stelev1.ListSinksRequest{})
	if err != nil || len(resp.Sinks) != 1 {
		t.Fatalf("ListSinks = %v, %v", resp, err)
	}
	return resp.Sinks[0]
}

// caughtUp waits until all that the tenants have is in the sink or parked. The
// process that writes to it learns of a commit a little later than this one.
func (f *sinkFixture) caughtUp(t testing.TB, tenants ...ledger.Tenant) {
	t.Helper()
	for _, tenant := range tenants {
		ctx := f.as(t, tenant, identity.Reader)
		until(t, func() bool {
			st := f.file(t, ctx)
			return st.Owner != "" && st.LagRevisions == 0 && st.Position == uint64(f.node.Replica.Head(tenant).Revision)
		})
	}
}

func (f *sinkFixture) drift(t testing.TB, ctx context.Context) (listed []string) {
	t.Helper()
	resp, err := f.sinks.ListDrift(ctx, &stelev1.ListDriftRequest{Sink: "files"})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range resp.Drift {
		listed = append(listed, d.Tenant+" "+d.Key)
	}
	return listed
}

func (f *sinkFixture) parked(t testing.TB, ctx context.Context) (listed []string) {
	t.Helper()
	resp, err := f.sinks.ListParked(ctx, &stelev1.ListParkedRequest{Sink: "files"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range resp.Parked {
		listed = append(listed, p.Tenant+" "+p.Key)
	}
	return listed
}

// Two tenants each have a key that the sink rejects, and a file that was edited by
// hand. Each gets only its own, in numbers, lists and errors.
func TestListSinks_TenantsOwnPart(t *testing.T) {
	f := startSinks(t)
	f.project()
	acme, other, all := f.as(t, "acme", identity.Admin), f.as(t, "other", identity.Admin), f.all(t)
	f.commit(t, acme, set("a", "1", "b", "1"))
	f.commit(t, other, set("a", "1", "secret", "1"))
	f.commit(t, other, set("secret", "2"))
	f.caughtUp(t, "acme", "other")
	f.commit(t, acme, set("a/b", "1")) // a is a file, and no folder
	f.commit(t, other, set("a/theirs", "1"))
	f.caughtUp(t, "acme", "other")

	for _, tc := range []struct {
		who            string
		ctx            context.Context
		position       uint64
		parked         []string
		operator, some bool
	}{
		{"acme", acme, 2, []string{"acme a/b"}, false, true},
		{"other", other, 3, []string{"other a/theirs"}, false, true},
		{"a reader of acme", f.as(t, "acme", identity.Reader), 2, []string{"acme a/b"}, false, true},
		{"a tenant without a commit", f.as(t, "acm", identity.Admin), 0, nil, false, false},
		{"an operator for acme", f.as(t, "acme", identity.Operator), 2, []string{"acme a/b"}, true, true},
		{"an operator for all", all, 0, []string{"acme a/b", "other a/theirs"}, true, true},
	} {
		st := f.file(t, tc.ctx)
		if st.Position != tc.position || st.Head != tc.position || int(st.Parked) != len(tc.parked) || st.LagRevisions != 0 {
			t.Errorf("%s gets %v", tc.who, st)
		}
		if got := f.parked(t, tc.ctx); !slices.Equal(got, tc.parked) {
			t.Errorf("%s: parked are %v, not %v", tc.who, got, tc.parked)
		}
		all := st.Writes != 0 && st.Failures != 0 && strings.Contains(st.LastError, "a/") && st.Failed != nil && strings.Contains(st.Owner, fmt.Sprint(os.Getpid()))
		if none := st.Writes+st.Failures == 0 && st.LastError == "" && st.Failed == nil && st.Owner == "a projector"; all != tc.operator || none == tc.operator {
			t.Errorf("%s gets the totals of all tenants: %v", tc.who, st)
		}
	}

	for _, name := range []string{"acme/b", "other/secret"} {
		if err := os.WriteFile(filepath.Join(f.folder, filepath.FromSlash(name)), []byte("by hand"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(ctx context.Context, name string) (*stelev1.CheckDriftResponse, error) {
		return f.sinks.CheckDrift(ctx, &stelev1.CheckDriftRequest{Sink: "files", Name: name})
	}
	if resp, err := check(acme, ""); err != nil || len(resp.Drift) != 1 || resp.Drift[0].Key != "b" || resp.Compared != 2 {
		t.Errorf("acme compares its items: %v, %v", resp, err)
	}
	if resp, err := check(all, "other/secret"); err != nil || len(resp.Drift) != 1 || resp.Drift[0].Tenant != "other" {
		t.Errorf("an operator compares an item: %v, %v", resp, err)
	}
	for who, tc := range map[string]struct {
		ctx  context.Context
		want []string
	}{
		"acme": {acme, []string{"acme b"}}, "other": {other, []string{"other secret"}}, "all": {all, []string{"acme b", "other secret"}},
	} {
		if got := f.drift(t, tc.ctx); !slices.Equal(got, tc.want) {
			t.Errorf("%s: what has drifted is %v, not %v", who, got, tc.want)
		}
		if st := f.file(t, tc.ctx); int(st.Drifted) != len(tc.want) {
			t.Errorf("%s: %d items have drifted", who, st.Drifted)
		}
	}
	// Answers do not reveal whether another tenant has a key.
	for _, name := range []string{"other/secret", "other/none", "other/a/theirs", "nobody/secret"} {
		_, err := check(acme, name)
		if status.Code(err) != codes.InvalidArgument || field(err) != "name" || status.Convert(err).Message() != fmt.Sprintf("name: %s is not an item of acme", name) {
			t.Errorf("acme compares %s: %v", name, err)
		}
	}
	for name, n := range map[string]func() (uint32, error){
		"Retry of another's key": func() (uint32, error) {
			resp, err := f.sinks.Retry(acme, &stelev1.RetryRequest{Sink: "files", Key: "a/theirs"})
			return resp.GetRetried(), err
		},
		"Skip of another's key": func() (uint32, error) {
			resp, err := f.sinks.Skip(acme, &stelev1.SkipRequest{Sink: "files", Key: "a/theirs"})
			return resp.GetSkipped(), err
		},
	} {
		if n, err := n(); n != 0 || err != nil {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	if resp, err := f.sinks.Skip(acme, &stelev1.SkipRequest{Sink: "files"}); err != nil || resp.Skipped != 1 {
		t.Errorf("acme gives up all its keys: %v, %v", resp, err)
	}
	if resp, err := f.sinks.Retry(other, &stelev1.RetryRequest{Sink: "files"}); err != nil || resp.Retried != 1 {
		t.Errorf("the other's key is still to be tried: %v, %v", resp, err)
	}
	f.caughtUp(t, "acme", "other")
	if resp, err := f.sinks.Replay(acme, &stelev1.ReplayRequest{Sink: "files"}); err != nil || resp.LagRevisions != 2 {
		t.Errorf("acme replays: %v, %v; want its 2 revisions", resp, err)
	}
	f.caughtUp(t, "acme", "other")
	if resp, err := f.sinks.Replay(all, &stelev1.ReplayRequest{Sink: "files", FromRevision: 2}); err != nil || resp.LagRevisions != 1+2 {
		t.Errorf("an operator replays from @2: %v, %v; want 3 revisions", resp, err)
	}
}

// Without a process that writes to it, a sink is what the last one has left.
func TestListSinks_RemainingParts(t *testing.T) {
	f := startSinks(t)
	acme := f.as(t, "acme", identity.Admin)
	f.commit(t, acme, set("a", "1"))
	if st := f.file(t, acme); st.Owner != "" || st.Position != 0 || st.Head != 1 || st.LagRevisions != 1 {
		t.Errorf("before the first projector it is %v", st)
	}
	f.project()
	f.caughtUp(t, "acme")
	f.commit(t, acme, set("a/b", "1"))
	until(t, func() bool { return len(f.parked(t, acme)) == 1 })
	f.caughtUp(t, "acme")
	f.stop()
	f.stop = func() {}
	f.commit(t, acme, set("b", "1"))
	if st := f.file(t, acme); st.Owner != "" || st.Kind != "directory" || st.Position != 2 || st.Head != 3 || st.LagRevisions != 1 || st.Parked != 1 {
		t.Errorf("after it, the sink is %v", st)
	}
	if got := f.parked(t, acme); !slices.Equal(got, []string{"acme a/b"}) {
		t.Errorf("parked are %v", got)
	}
	if _, err := f.sinks.Retry(acme, &stelev1.RetryRequest{Sink: "files"}); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "role projector") {
		t.Errorf("Retry without a token: %v", err)
	}
}

// An operator's list of all tenants at once is recorded for each, whatever its policy.
func TestSinks_ReadsOfAllTenantsAreRecordedForEach(t *testing.T) {
	f := startSinks(t)
	f.project()
	f.setPolicy(t, "acme", `{"record":["a"]}`)
	for _, tenant := range []ledger.Tenant{"acme", "lax", "other"} {
		ctx := f.as(t, tenant, identity.Admin)
		f.commit(t, ctx, set("a", "1", "b", "1"))
		f.caughtUp(t, tenant)
		f.commit(t, ctx, set("a/x", "1", "b/x", "1"))
		f.caughtUp(t, tenant)
	}
	if got := f.parked(t, f.all(t)); len(got) != 6 {
		t.Fatalf("parked are %v", got)
	}
	want := []string{"ListParked a/x b/x @0"}
	for _, tenant := range []ledger.Tenant{"acme", "lax", "other"} {
		var got []string
		for _, r := range f.recorded(t, f.as(t, tenant, identity.Auditor)) {
			got = append(got, formatRead(r))
			if r.Subject != "olga" {
				t.Errorf("%s: it is recorded as of %s", tenant, r.Subject)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: recorded is %v, not %v", tenant, got, want)
		}
	}
}
