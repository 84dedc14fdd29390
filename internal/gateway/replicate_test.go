package gateway_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/gatewaytest"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// follow starts to replicate tenants, and returns the first response.
func (f *fixture) follow(ctx context.Context, tenants ...string) (proto.Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := stelev1.NewReplicationClient(f.conn).Follow(ctx)
	if err != nil {
		return nil, err
	}
	start := &stelev1.FollowStart{Tenants: tenants, AllTenants: len(tenants) == 0}
	if err := stream.Send(&stelev1.FollowRequest{Request: &stelev1.FollowRequest_Start{Start: start}}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return stream.Recv() // it also reports why nothing could be sent
}

// edge is a context of an edge gateway whose token names the tenants.
func (f *fixture) edge(t testing.TB, tenants ...string) context.Context {
	t.Helper()
	return bearer(t.Context(), f.token(t, identity.Claims{Subject: "edge-1", Replicates: tenants}))
}

func TestFollow_WhoMayReplicateWhat(t *testing.T) {
	f := startRecorded(t)
	f.commit(t, f.as(t, "acme", identity.Writer), set("a", "1"))
	f.commit(t, f.as(t, "globex", identity.Writer), set("a", "1"))
	f.setGrants(t, "globex", `{"grants":[{"subjects":["edge-1"],"operations":["replicate"]},{"roles":["reader"]}]}`)
	f.setGrants(t, "initech", `{"grants":[{"subjects":["edge-2"],"operations":["replicate"]}]}`)
	for _, tc := range []struct {
		name    string
		ctx     context.Context
		tenants []string
		want    codes.Code
	}{
		{"its tenant", f.edge(t, "acme"), []string{"acme"}, codes.OK},
		{"two of its tenants", f.edge(t, "acme", "globex"), []string{"acme", "globex"}, codes.OK},
		{"a tenant that the token does not name", f.edge(t, "acme"), []string{"acme", "globex"}, codes.PermissionDenied},
		{"a tenant whose grants leave it out", f.edge(t, "*"), []string{"initech"}, codes.PermissionDenied},
		{"all tenants without the token's word", f.edge(t, "acme", "globex"), nil, codes.PermissionDenied},
		{"all tenants", f.edge(t, "*"), nil, codes.OK},
		{"the ledger's own tenant", f.edge(t, "*"), []string{"_system"}, codes.InvalidArgument},
		{"a name that is not a tenant's", f.edge(t, "*"), []string{"A b"}, codes.InvalidArgument},
		{"a reader", f.as(t, "acme", identity.Reader, identity.Admin), []string{"acme"}, codes.PermissionDenied},
		{"an operator", f.actingOperator(t), []string{"acme", "initech"}, codes.OK},
		{"no token", t.Context(), []string{"acme"}, codes.Unauthenticated},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := f.follow(tc.ctx, tc.tenants...); status.Code(err) != tc.want {
				t.Errorf("%v, want %s", err, tc.want)
			}
		})
	}
	// The same token is good for nothing else.
	for name, err := range map[string]error{
		"Get":        failure(f.config.Get(f.edge(t, "acme"), &stelev1.GetRequest{Key: "a"})),
		"ListSinks":  failure(stelev1.NewSinksClient(f.conn).ListSinks(f.edge(t, "acme"), &stelev1.ListSinksRequest{})),
		"as-tenant":  failure(f.config.Get(bearer(t.Context(), f.token(t, identity.Claims{Subject: "edge-1", Replicates: []string{"acme"}}), "as-tenant", "acme"), &stelev1.GetRequest{Key: "a"})),
		"all tenant": failure(f.ledger.ListAllCommits(f.edge(t, "*"), &stelev1.ListAllCommitsRequest{})),
	} {
		if err == nil {
			t.Errorf("%s with an edge's token was answered", name)
		}
	}
}

func failure[T any](_ T, err error) error { return err }

// The roles of a token are for its own tenant, not for those that it names to replicate.
func TestReplicates_GivesNoOtherOperation(t *testing.T) {
	f := start(t)
	f.commit(t, f.as(t, "globex", identity.Writer), set("a", "1"))
	token := f.token(t, identity.Claims{Subject: "edge-1", Tenant: "acme", Roles: []identity.Role{identity.Admin}, Replicates: []string{"globex"}})
	ctx := bearer(t.Context(), token, "as-tenant", "globex")
	st, err := f.ledger.GetStatus(ctx, &stelev1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range st.Principal.Allowed {
		if a.Operation != "replicate" {
			t.Errorf("in globex it may %s %q", a.Operation, a.Prefixes)
		}
	}
	may, err := f.ledger.CheckAccess(ctx, &stelev1.CheckAccessRequest{Operation: "read", On: &stelev1.CheckAccessRequest_Key{Key: "a"}})
	if err != nil || may.Allowed {
		t.Errorf("it may read there: %v, %v", may, err)
	}
}

// A tenant's policy reports whether its replication is recorded; an operator's always is.
func TestFollow_IsRecorded(t *testing.T) {
	f := startRecorded(t)
	auditor := f.as(t, "acme", identity.Auditor)
	f.commit(t, f.as(t, "acme", identity.Writer), set("a", "1"))
	count := func() (n int) {
		for _, r := range f.recorded(t, auditor) {
			if r.Method == stelev1.Replication_Follow_FullMethodName {
				n++
			}
		}
		return n
	}
	follow := func(ctx context.Context, want int) {
		t.Helper()
		if _, err := f.follow(ctx, "acme"); err != nil {
			t.Fatal(err)
		}
		if got := count(); got != want {
			t.Errorf("%d records, want %d", got, want)
		}
	}
	follow(f.edge(t, "acme"), 0)
	f.setPolicy(t, "acme", `{"record":["secrets/"]}`)
	follow(f.edge(t, "acme"), 1)
	follow(f.actingOperator(t), 2)
	for _, r := range f.recorded(t, auditor) {
		if len(r.Prefixes) != 1 || r.Tenant != "acme" {
			t.Errorf("the record is of %v in %s, want one prefix in acme", r.Prefixes, r.Tenant)
		}
	}
}

// A replication of a tenant contains the commits of its bases, so it is recorded for them.
func TestFollow_BasesAreRecorded(t *testing.T) {
	f := startRecorded(t)
	f.commit(t, f.as(t, "acme", identity.Writer), set("a", "1"))
	f.commit(t, f.as(t, "globex", identity.Operator), set("_bases/list", `[{"tenant":"acme","revision":1}]`))
	auditor := f.as(t, "acme", identity.Auditor)
	before := len(f.recorded(t, auditor))
	if _, err := f.follow(f.actingOperator(t), "globex"); err != nil {
		t.Fatal(err)
	}
	got := f.recorded(t, auditor)[before:]
	if len(got) != 1 || got[0].Subject != "olga" || got[0].Method != stelev1.Replication_Follow_FullMethodName {
		t.Errorf("acme's records of a replication of globex, which inherits from acme: %v", got)
	}
}

// An edge cannot take all replications of a gateway, and what it takes ends with its streams.
func TestFollow_Shares(t *testing.T) {
	f := start(t)
	f.commit(t, f.as(t, "acme", identity.Writer), set("a", "1"))
	conns := []*grpc.ClientConn{f.conn, (&gatewaytest.Gateway{Gateway: f.gateway}).Dial(t)} // one carries 1,000 streams
	follow := func(ctx context.Context, i int) error {
		stream, err := stelev1.NewReplicationClient(conns[i%len(conns)]).Follow(ctx)
		if err != nil {
			return err
		}
		if err := stream.Send(&stelev1.FollowRequest{Request: &stelev1.FollowRequest_Start{Start: &stelev1.FollowStart{Tenants: []string{"acme"}}}}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	fill := func(ctx context.Context) (n int) {
		for ; ; n++ {
			if err := follow(ctx, n); err != nil {
				if status.Code(err) != codes.ResourceExhausted {
					t.Fatal(err)
				}
				return n
			}
		}
	}
	first, end := context.WithCancel(f.edge(t, "acme"))
	defer end()
	if n := fill(first); n != 334 {
		t.Errorf("an edge alone gets %d of 1,000", n)
	}
	second := bearer(t.Context(), f.token(t, identity.Claims{Subject: "edge-2", Replicates: []string{"acme"}}))
	if n := fill(second); n != 222 {
		t.Errorf("a second edge gets %d of the rest", n)
	}
	end()
	until(t, func() bool { return follow(second, 0) == nil })
}

// A replication that fails releases its slot.
func TestFollow_FailedOnesReleaseTheirSlots(t *testing.T) {
	var failing atomic.Bool
	var f *fixture
	open := sync.OnceValues(func() (policy.ReadLog, error) { return gatewaytest.ReadLog(f.node)() })
	f = start(t, func(c *gateway.Config) {
		c.ReadLog = func() (policy.ReadLog, error) {
			if failing.Load() {
				return nil, ledger.ErrUnavailable
			}
			return open()
		}
	})
	f.commit(t, f.as(t, "acme", identity.Writer), set("a", "1"))
	acting := f.actingOperator(t)
	failing.Store(true)
	for i := range 335 { // one edge gets 334 slots
		if _, err := f.follow(acting, "acme"); status.Code(err) != codes.Unavailable {
			t.Fatalf("replication %d, which cannot be recorded: %v", i, err)
		}
	}
	failing.Store(false)
	if _, err := f.follow(acting, "acme"); err != nil {
		t.Error(err)
	}
}
