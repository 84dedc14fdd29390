package replication_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func startRequest(tenants ...string) *stelev1.FollowRequest {
	return &stelev1.FollowRequest{Request: &stelev1.FollowRequest_Start{Start: &stelev1.FollowStart{Tenants: tenants}}}
}

func pollRequest(id uint64) *stelev1.FollowRequest {
	return &stelev1.FollowRequest{Request: &stelev1.FollowRequest_Poll{Poll: &stelev1.FollowPoll{Id: id}}}
}

// refused sends requests and returns the error that ends the stream.
func refused(ctx context.Context, g *gw, requests ...*stelev1.FollowRequest) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := stelev1.NewReplicationClient(g.conn).Follow(ctx)
	if err != nil {
		return err
	}
	for _, r := range requests {
		if s.Send(r) != nil {
			break
		}
	}
	for {
		if _, err := s.Recv(); err != nil {
			return err
		}
	}
}

func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if in, ok := d.(*errdetails.ErrorInfo); ok {
			return in.Reason
		}
	}
	return ""
}

func TestFollow_HostileEdge(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 10, "acme", "globex")
	w.write(t, ledger.System, "policy/globex/grants", `{"grants":[{"subjects":["other"],"operations":["replicate"]}]}`)
	edge := identity.Claims{Subject: "edge", Replicates: []string{"acme"}}
	all := identity.Claims{Subject: "edge", Replicates: []string{identity.AllTenants}}
	globex := identity.Claims{Subject: "edge", Replicates: []string{"globex"}}
	have := func(h ...*stelev1.ReplicatedHead) *stelev1.FollowRequest {
		r := startRequest("acme")
		r.GetStart().Have = h
		return r
	}
	allTenants := startRequest()
	allTenants.GetStart().AllTenants = true
	both := startRequest("acme")
	both.GetStart().AllTenants = true
	alien := startRequest("acme")
	alien.GetStart().Epoch = []byte("alien-01")
	long := startRequest("acme")
	long.GetStart().Epoch = []byte("alien-0123")
	head := w.node.Replica.Head("acme")
	for _, tc := range []struct {
		name     string
		claims   identity.Claims
		requests []*stelev1.FollowRequest
		code     codes.Code
		reason   string
	}{
		{"no right", identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader, identity.Admin}}, []*stelev1.FollowRequest{startRequest("acme")}, codes.PermissionDenied, "PERMISSION_DENIED"},
		{"a right for another tenant", edge, []*stelev1.FollowRequest{startRequest("initech")}, codes.PermissionDenied, "PERMISSION_DENIED"},
		{"a right for one of two tenants", edge, []*stelev1.FollowRequest{startRequest("acme", "globex")}, codes.PermissionDenied, "PERMISSION_DENIED"},
		{"a right for one tenant, asks for all", edge, []*stelev1.FollowRequest{allTenants}, codes.PermissionDenied, "PERMISSION_DENIED"},
		{"grants of another subject", globex, []*stelev1.FollowRequest{startRequest("globex")}, codes.PermissionDenied, "PERMISSION_DENIED"},
		{"all tenants, of which one has grants of another subject", all, []*stelev1.FollowRequest{allTenants}, codes.PermissionDenied, "PERMISSION_DENIED"},
		{"no tenant", edge, []*stelev1.FollowRequest{startRequest()}, codes.InvalidArgument, ""},
		{"tenants and all tenants", all, []*stelev1.FollowRequest{both}, codes.InvalidArgument, ""},
		{"the ledger's own tenant", all, []*stelev1.FollowRequest{startRequest("_system")}, codes.InvalidArgument, ""},
		{"a bad name", all, []*stelev1.FollowRequest{startRequest("../acme")}, codes.InvalidArgument, ""},
		{"polls without a start", edge, []*stelev1.FollowRequest{pollRequest(1)}, codes.InvalidArgument, ""},
		{"two starts", edge, []*stelev1.FollowRequest{startRequest("acme"), startRequest("acme")}, codes.InvalidArgument, ""},
		{"an empty request", edge, []*stelev1.FollowRequest{{}}, codes.InvalidArgument, ""},
		{"a poll without an id", edge, []*stelev1.FollowRequest{startRequest("acme"), pollRequest(0)}, codes.InvalidArgument, ""},
		{"another ledger", edge, []*stelev1.FollowRequest{alien}, codes.FailedPrecondition, "HISTORY_CHANGED"},
		{"an epoch that is too long", edge, []*stelev1.FollowRequest{long}, codes.InvalidArgument, ""},
		{"have with a wrong id", edge, []*stelev1.FollowRequest{have(&stelev1.ReplicatedHead{Tenant: "acme", Revision: 2, Id: make([]byte, 32)})}, codes.FailedPrecondition, "HISTORY_CHANGED"},
		{"have without an id", edge, []*stelev1.FollowRequest{have(&stelev1.ReplicatedHead{Tenant: "acme", Revision: 5})}, codes.FailedPrecondition, "HISTORY_CHANGED"},
		{"have from the future", edge, []*stelev1.FollowRequest{have(&stelev1.ReplicatedHead{Tenant: "acme", Revision: 6, Id: head.ID[:]})}, codes.Unavailable, "UPSTREAM_BEHIND"},
		{"have at the end of time", edge, []*stelev1.FollowRequest{have(&stelev1.ReplicatedHead{Tenant: "acme", Revision: math.MaxUint64})}, codes.Unavailable, "UPSTREAM_BEHIND"},
		{"have of the ledger's own tenant", edge, []*stelev1.FollowRequest{have(&stelev1.ReplicatedHead{Tenant: "_system", Revision: 1})}, codes.FailedPrecondition, "HISTORY_CHANGED"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := refused(w.as(t, tc.claims), w.core, tc.requests...)
			if status.Code(err) != tc.code || tc.reason != "" && reason(err) != tc.reason {
				t.Errorf("the stream ends with %v (%s), want %s (%s)", err, reason(err), tc.code, tc.reason)
			}
		})
	}
	if err := refused(t.Context(), w.core, startRequest("acme")); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a token: %v", err)
	}
	// A tenant that the edge has and does not request gets it no data.
	s, err := stelev1.NewReplicationClient(w.core.conn).Follow(w.as(t, edge))
	if err != nil {
		t.Fatal(err)
	}
	s.Send(have(&stelev1.ReplicatedHead{Tenant: "globex", Revision: 2, Id: make([]byte, 32)}))
	if m, err := s.Recv(); err != nil || m.GetWelcome() == nil {
		t.Errorf("a tenant that was not asked for: %v, %v", m, err)
	}
}

// open follows acme, and waits for its commits.
func (w *world) open(t *testing.T, c identity.Claims) (s stelev1.Replication_FollowClient, cancel func()) {
	t.Helper()
	s, cancel, err := w.tryOpen(t, c)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	return s, cancel
}

func (w *world) tryOpen(t *testing.T, c identity.Claims) (s stelev1.Replication_FollowClient, cancel func(), err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(w.as(t, c), 2*time.Minute)
	if s, err = stelev1.NewReplicationClient(w.core.conn).Follow(ctx); err != nil {
		return nil, cancel, err
	}
	if err := s.Send(startRequest("acme")); err != nil && !errors.Is(err, io.EOF) { // Recv reports why the stream has ended
		return nil, cancel, err
	}
	for {
		m, err := s.Recv()
		if err != nil {
			return nil, cancel, err
		}
		if m.GetCommits() != nil {
			return s, cancel, nil
		}
	}
}

func drain(s stelev1.Replication_FollowClient) error {
	for {
		if _, err := s.Recv(); err != nil {
			return err
		}
	}
}

// A stream ends when its edge loses the permission, whether it polls or not, and not when
// any other policy changes.
func TestFollow_PermissionEndsMidStream(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 3, "acme")
	grants := func(subject string) {
		w.write(t, ledger.System, "policy/acme/grants", fmt.Sprintf(`{"grants":[{"subjects":["alice"]},{"subjects":[%q],"operations":["replicate"]}]}`, subject))
	}
	grants("edge")
	edge := identity.Claims{Subject: "edge", Replicates: []string{"acme"}}

	s, cancel := w.open(t, edge)
	defer cancel()
	w.write(t, ledger.System, "policy/globex/limits", `{}`)
	w.write(t, ledger.System, "policy/acme/reads", `{"record":["secret/"]}`)
	w.write(t, "acme", "a/after", "1")
	for found := false; !found; {
		m, err := s.Recv()
		if err != nil {
			t.Fatalf("a change of another policy ended the stream: %v", err)
		}
		for _, rc := range m.GetCommits().GetCommits() {
			c, err := ledger.DecodeCommit(rc.Commit)
			if err != nil {
				t.Fatal(err)
			}
			found = found || c.Tenant == "acme" && c.Revision == 4
		}
	}
	grants("other")
	if err := drain(s); status.Code(err) != codes.PermissionDenied {
		t.Errorf("after its grant was revoked, the stream of an edge that does not poll ends with %v", err)
	}

	grants("edge")
	expiring := edge
	for expiring.TTL = 2 * time.Second; ; expiring.TTL *= 2 {
		var err error
		s, cancel, err = w.tryOpen(t, expiring)
		defer cancel()
		if err == nil {
			break
		}
		// On a busy machine the token expires before the stream is open.
		if status.Code(err) != codes.Unauthenticated || expiring.TTL > time.Minute {
			t.Fatal(err)
		}
	}
	if err := drain(s); status.Code(err) != codes.Unauthenticated {
		t.Errorf("after its token has expired, the stream ends with %v", err)
	}
}

// Polls are answered at a bounded rate, and an edge that sends very many delays only
// its own stream.
func TestFollow_ManyPolls(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 3, "acme")
	s, cancel := w.open(t, identity.Claims{Subject: "edge", Replicates: []string{"acme"}})
	defer cancel()
	sent := make(chan int, 1)
	begun := time.Now()
	go func() {
		n := 0
		for ; n < 1_000_000 && s.Send(pollRequest(uint64(n+1))) == nil; n++ {
		}
		sent <- n
	}()
	answered := 0
	for time.Since(begun) < 2*time.Second {
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.GetProgress().GetId() != 0 {
			answered++
		}
	}
	// At 50 ms a poll, 2 s are 40; a scheduler that is late makes them fewer.
	if took := time.Since(begun); answered == 0 || time.Duration(answered) > took*3/2/(50*time.Millisecond) {
		t.Errorf("%d polls were answered in %s", answered, took)
	}
	e := w.edge(t, edgeConfig{upstreams: []string{w.core.address}, tenants: []ledger.Tenant{"acme"}})
	w.equal(t, e, "acme")
	cancel()
	if err := drain(s); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the stream ends with %v", err)
	}
	t.Logf("%d polls sent, %d answered", <-sent, answered)
}

// An edge's token cannot read, write or act for a tenant.
func TestReplicates_IsNotARole(t *testing.T) {
	w := startWorld(t)
	w.fill(t, 4, "acme", "globex")
	both := identity.Claims{Subject: "edge", Tenant: "globex", Roles: []identity.Role{identity.Reader, identity.Writer, identity.Admin, identity.Auditor}, Replicates: []string{"acme"}}
	ctx := metadata.AppendToOutgoingContext(w.as(t, both), "as-tenant", "acme")
	fails := func(_ any, err error) error { return err }
	for name, err := range map[string]error{
		"Get":       fails(w.core.config.Get(ctx, &stelev1.GetRequest{Key: "a/0"})),
		"Commit":    fails(w.core.ledger.Commit(ctx, &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "a/0", Value: "1"}}})),
		"ListReads": fails(w.core.ledger.ListReads(ctx, &stelev1.ListReadsRequest{})),
		"GetHead":   fails(w.core.ledger.GetHead(ctx, &stelev1.GetHeadRequest{})),
	} {
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s in a tenant that the token is only allowed to replicate: %v", name, err)
		}
	}
	rc := stelev1.NewReplicationClient(w.core.conn)
	record, err := proto.Marshal(&stelev1.ReadRecord{Tenant: "globex", Subject: "mallory"})
	if err != nil {
		t.Fatal(err)
	}
	edge := w.as(t, identity.Claims{Subject: "edge", Replicates: []string{"acme"}})
	reader := w.as(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader}})
	head := func(tenant string, rev uint64) *stelev1.ReplicatedHead {
		return &stelev1.ReplicatedHead{Tenant: tenant, Revision: rev}
	}
	prove := func(ctx context.Context, old uint64, h ...*stelev1.ReplicatedHead) error {
		_, err := rc.Prove(ctx, &stelev1.ProveRequest{Commits: h, OldSize: old})
		return err
	}
	until(t, "a checkpoint", func() bool { return prove(edge, 0, head("acme", 1)) == nil })
	for _, tc := range []struct {
		name string
		err  error
		want codes.Code
	}{
		{"a record of another tenant", fails(rc.RecordRead(edge, &stelev1.RecordReadRequest{Tenant: "globex", Record: record})), codes.PermissionDenied},
		{"a record that is another tenant's", fails(rc.RecordRead(edge, &stelev1.RecordReadRequest{Tenant: "acme", Record: record})), codes.InvalidArgument},
		{"an invalid record", fails(rc.RecordRead(edge, &stelev1.RecordReadRequest{Tenant: "acme", Record: []byte("\xff")})), codes.InvalidArgument},
		{"a record that is too long", fails(rc.RecordRead(edge, &stelev1.RecordReadRequest{Tenant: "acme", Record: make([]byte, 65537)})), codes.InvalidArgument},
		{"a record by a reader", fails(rc.RecordRead(reader, &stelev1.RecordReadRequest{Tenant: "acme", Record: record})), codes.PermissionDenied},
		{"proof of another tenant", prove(edge, 0, head("globex", 1)), codes.PermissionDenied},
		{"proof of one of two tenants", prove(edge, 0, head("acme", 1), head("globex", 1)), codes.PermissionDenied},
		{"proof for a reader", prove(reader, 0, head("acme", 1)), codes.PermissionDenied},
		{"proof of the ledger's own tenant for a reader", prove(reader, 0, head("_system", 1)), codes.PermissionDenied},
		{"proof of nothing", prove(edge, 0), codes.InvalidArgument},
		{"proof of revision 0", prove(edge, 0, head("acme", 0)), codes.InvalidArgument},
		{"proof of the future", prove(edge, 0, head("acme", math.MaxUint64)), codes.OK}, // not covered
		{"an old size of the future", prove(edge, 1000, head("acme", 1)), codes.Unavailable},
		{"an old size at the end", prove(edge, math.MaxUint64, head("acme", 1)), codes.Unavailable},
	} {
		if status.Code(tc.err) != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, tc.err, tc.want)
		}
	}
}
