package gateway_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/durable"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	syncv1 "github.com/stelehq/stele/schemas/flagd/sync/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// endsWith waits for a stream to end, however many answers come before, and checks why.
func endsWith(t *testing.T, what string, s interface{ RecvMsg(any) error }, reason string) {
	t.Helper()
	for {
		if err := s.RecvMsg(&emptypb.Empty{}); err != nil { // whatever it sends is unknown fields of that
			if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), reason) {
				t.Errorf("%s ends with %v, want %q", what, err, reason)
			}
			return
		}
	}
}

// A revoked token is rejected and its streams end, also an operator's; other streams of the
// tenant continue.
func TestRevocation_RefusesCallsAndEndsStreams(t *testing.T) {
	f := start(t)
	f.commit(t, f.as(t, "acme", identity.Writer), set("a", "1"))
	bob := bearer(t.Context(), f.token(t, identity.Claims{Subject: "bob", Tenant: "acme", Roles: []identity.Role{identity.Writer}}))
	root := bearer(t.Context(), f.token(t, identity.Claims{Subject: "olga", Roles: []identity.Role{identity.Operator}, Tenant: "acme"}))
	alice := f.as(t, "acme", identity.Writer)
	others := f.watch(t, alice, &stelev1.CreateWatch{Id: 1, Prefixes: []string{"b"}})
	recv(t, others)
	watch := func(ctx context.Context) watchClient {
		w := f.watch(t, ctx, &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}})
		recv(t, w)
		return w
	}
	streams := map[string]watchClient{"bob": watch(bob), "olga": watch(root)}
	f.commit(t, f.system(t), set("policy/revoked", `{"revoked":[{"subject":"bob"},{"subject":"olga","before":"2999-01-01T00:00:00Z"}]}`))
	for who, s := range streams {
		endsWith(t, who, s, "was revoked")
	}
	for _, ctx := range []context.Context{bob, root} {
		if _, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "a"}); status.Code(err) != codes.Unauthenticated {
			t.Errorf("a call with a revoked token: %v", err)
		}
		if _, err := f.ledger.GetStatus(ctx, &stelev1.GetStatusRequest{}); status.Code(err) != codes.Unauthenticated {
			t.Errorf("GetStatus with a revoked token: %v", err)
		}
	}
	f.commit(t, alice, set("b", "1"))
	if got := recv(t, others); got.GetCommit() == nil {
		t.Errorf("the stream of another: %v", got)
	}
	f.commit(t, f.system(t), set("policy/revoked", `{"revoked":[]}`))
	if _, err := f.config.Get(bob, &stelev1.GetRequest{Key: "a"}); err != nil {
		t.Errorf("after the revocation was removed: %v", err)
	}
}

// Every streaming method ends with the token that it was called with, also if it has nothing
// to send. A method without a case fails the test.
func TestRevocation_EndsEveryStream(t *testing.T) {
	f := start(t)
	f.commit(t, f.as(t, "acme", identity.Writer), set("flags/a", "true"))
	claims := identity.Claims{Subject: "bob", Tenant: "acme", Roles: []identity.Role{identity.Operator}, Replicates: []string{"acme"}}
	requests := map[string]proto.Message{ // nil sends none
		stelev1.Config_Watch_FullMethodName:             &stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: &stelev1.CreateWatch{Id: 1, Prefixes: []string{"b/"}}}},
		stelev1.Config_Read_FullMethodName:              nil,
		stelev1.Ledger_CommitStream_FullMethodName:      nil,
		stelev1.Ledger_WatchAllCommits_FullMethodName:   &stelev1.WatchAllCommitsRequest{},
		stelev1.Replication_Follow_FullMethodName:       &stelev1.FollowRequest{Request: &stelev1.FollowRequest_Start{Start: &stelev1.FollowStart{Tenants: []string{"acme"}}}},
		syncv1.FlagSyncService_SyncFlags_FullMethodName: &syncv1.SyncFlagsRequest{},
	}
	streams := make(map[string]grpc.ClientStream)
	for name, m := range policy.Methods {
		if !m.Stream || m.Needs == policy.Public {
			continue
		}
		req, known := requests[name]
		if !known {
			t.Errorf("%s has no case here", name)
			continue
		}
		s, err := f.conn.NewStream(bearer(t.Context(), f.token(t, claims)), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, name)
		if err != nil {
			t.Fatal(err)
		}
		if req != nil {
			if err := s.SendMsg(req); err != nil {
				t.Fatal(err)
			}
		}
		streams[name] = s
	}
	f.commit(t, f.system(t), set("policy/revoked", `{"revoked":[{"subject":"bob"}]}`))
	for name, s := range streams {
		endsWith(t, name, s, "was revoked")
	}
}

// A list that cannot be parsed is rejected when it is written.
func TestRevocation_InvalidListIsRefused(t *testing.T) {
	for value, ok := range map[ledger.Value]bool{`{"revoked":[{"sub":"bob"}]}`: false, `{"revoked":[{"subject":"bob"}]}`: true} {
		err := policy.Check(ledger.System, []ledger.Change{{Key: "policy/revoked", Value: value}})
		if (err == nil) != ok {
			t.Errorf("%s: %v", value, err)
		}
	}
}

// A stream ends when its key is removed from the file of keys, however long the token is
// still good.
func TestStream_EndsWithItsKey(t *testing.T) {
	t.Parallel()
	dir, other := t.TempDir(), t.TempDir()
	signer, err := identity.OpenSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.OpenSigner(other); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "jwks.json")
	keys, err := identity.OpenKeyring(t.Context(), identity.KeyringConfig{Location: file})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	verifier, err := identity.NewVerifier(identity.Config{Keys: keys, Issuer: identity.LocalIssuer, Audience: identity.LocalAudience})
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, func(c *gateway.Config) { c.Verifier = verifier })
	token, err := signer.Mint(identity.Claims{Subject: "bob", Tenant: "acme", Roles: []identity.Role{identity.Writer}, TTL: 1000 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	bob := bearer(t.Context(), token)
	f.commit(t, bob, set("a", "1"))
	watch := f.watch(t, bob, &stelev1.CreateWatch{Id: 1, Prefixes: []string{""}})
	recv(t, watch)
	doc, err := os.ReadFile(filepath.Join(other, "jwks.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := durable.Publish(file, doc); err != nil {
		t.Fatal(err)
	}
	endsWith(t, "the stream", watch, "key")
}

// barrier is a log that stops those who report a policy that cannot be read, until it is opened.
type barrier struct {
	slog.Handler
	reached chan struct{}
	open    chan struct{}
}

func (b *barrier) Enabled(context.Context, slog.Level) bool { return true }

func (b *barrier) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "cannot read a policy") {
		select {
		case b.reached <- struct{}{}:
		default:
		}
		<-b.open
	}
	return nil
}

// A stream also ends if its token is revoked between the check of the token and the stream's
// beginning: the policies are read before the revocation, and their check ends after it.
func TestRevocation_WhileAStreamBegins(t *testing.T) {
	log := &barrier{slog.DiscardHandler, make(chan struct{}, 1), make(chan struct{})}
	f := start(t, func(c *gateway.Config) { c.Log = slog.New(log) })
	open := sync.OnceFunc(func() { close(log.open) })
	defer open()
	f.commit(t, f.as(t, "acme", identity.Writer), set("a", "1"))
	policies := func(key ledger.Key, value ledger.Value) { // calls of the gateway would read the policies
		t.Helper()
		changed := f.gateway.PoliciesChanged()
		if _, err := f.node.Ledger.Commit(t.Context(), ledger.System, ledger.ChangeSet{Author: "olga", Changes: []ledger.Change{{Key: key, Value: value}}}); err != nil {
			t.Fatal(err)
		}
		<-changed
	}
	policies("policy/other/reads", "null")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stream, err := f.config.Watch(bearer(ctx, f.token(t, identity.Claims{Subject: "bob", Tenant: "acme", Roles: []identity.Role{identity.Reader}})))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: &stelev1.CreateWatch{Id: 1, Keys: []string{"a"}}}}); err != nil {
		t.Fatal(err)
	}
	<-log.reached
	policies("policy/revoked", `{"revoked":[{"subject":"bob"}]}`)
	open()
	endsWith(t, "the stream", stream, "was revoked")
}
