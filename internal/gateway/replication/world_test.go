package replication_test

import (
	"context"
	"fmt"
	"iter"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/gatewaytest"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/replication"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/porttest"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a ledger with a gateway that follows its journal.
type world struct {
	t    *testing.T
	node *ledgertest.Node
	*gatewaytest.Issuer
	tree  *proof.Tree
	core  *gw
	names atomic.Int32
}

// gw is a gateway that listens.
type gw struct {
	address string
	id      *stelev1.GatewayID
	conn    *grpc.ClientConn
	replica *replica.Replica
	client  *replication.Client // nil for the core
	gateway *gateway.Gateway
	dir     string
	config  stelev1.ConfigClient
	ledger  stelev1.LedgerClient
	stop    func()
}

func startWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, Issuer: gatewaytest.NewIssuer(t), node: ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})}
	var err error
	if w.tree, err = proof.OpenTree(proof.Config{Path: filepath.Join(t.TempDir(), "tree.db")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.tree.Close() })
	secret, _, err := proof.GenerateKey(w.node.Journal.Epoch())
	if err != nil {
		t.Fatal(err)
	}
	key, err := proof.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	side, err := w.node.Journal.OpenAuxStream(t.Context(), journal.Checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.tree.Follow(w.node.Journal); err != nil {
		t.Fatal(err)
	}
	if err := w.tree.Sign(side, key); err != nil {
		t.Fatal(err)
	}
	w.core = w.serve(t, &gw{replica: w.node.Replica}, func(c *gateway.Config) {
		c.Ledger = func() (*ledger.Ledger, error) { return w.node.Ledger, nil }
		c.ReadLog, c.Tree = gatewaytest.ReadLog(w.node), w.tree
	}, nil)
	return w
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (w *world) serve(t *testing.T, g *gw, change func(*gateway.Config), closed func()) *gw {
	t.Helper()
	if g.address == "" {
		g.address = porttest.Free(t, 1)[0]
	}
	l := listen(t, g.address)
	if g.id == nil {
		g.id = w.newID(g.address)
	}
	cfg := gateway.Config{Replica: g.replica, Verifier: w.Verifier, Reads: true, ID: g.id, Roles: []string{"gateway"}, Version: "test"}
	change(&cfg)
	served, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g.gateway = served
	ran := make(chan error, 1)
	go func() { ran <- served.Serve(l) }()
	if g.conn, err = grpc.NewClient(g.address, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	g.config, g.ledger = stelev1.NewConfigClient(g.conn), stelev1.NewLedgerClient(g.conn)
	g.stop = sync.OnceFunc(func() {
		g.conn.Close()
		served.Close()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if closed != nil {
			closed()
		}
	})
	t.Cleanup(func() { g.stop() })
	return g
}

func (w *world) newID(address string) *stelev1.GatewayID {
	id := make([]byte, 16)
	id[0] = byte(w.names.Add(1))
	return &stelev1.GatewayID{Id: id, Address: address}
}

// edgeConfig defines how an edge differs from the usual.
type edgeConfig struct {
	witnesses proof.Witnesses
	upstreams []string
	tenants   []ledger.Tenant // none for all
	dir       string
	address   string // none for any
	forward   bool
	history   replica.History
	claims    *identity.Claims
}

// edge starts a gateway that replicates from others.
func (w *world) edge(t *testing.T, c edgeConfig) *gw {
	t.Helper()
	if c.dir == "" {
		c.dir = t.TempDir()
	}
	held := c.tenants
	if len(held) > 0 {
		held = append(slices.Clone(held), ledger.System)
	}
	g := &gw{dir: c.dir, address: c.address}
	var err error
	if g.replica, err = replica.Open(replica.Config{Path: filepath.Join(c.dir, "replica.db"), Tenants: held, History: c.history}); err != nil {
		t.Fatal(err)
	}
	claims := identity.Claims{Subject: "edge", Replicates: []string{identity.AllTenants}}
	if c.claims != nil {
		claims = *c.claims
	}
	if c.address == "" {
		l := listen(t, "127.0.0.1:0")
		g.address = l.Addr().String()
		l.Close()
	}
	g.id = w.newID(g.address)
	g.client = replication.NewClient(replication.Config{
		Addresses: c.upstreams, Tenants: c.tenants, Self: g.id, Pin: replication.Pin(c.dir), Witnesses: c.witnesses, Log: testLog(t),
		Dial:    func(a string) (*grpc.ClientConn, error) { return dial(a, func() string { return w.Token(t, claims) }) },
		Forward: func(a string) (*grpc.ClientConn, error) { return dial(a, nil) },
	})
	g.replica.FollowUpstream(g.client)
	return w.serve(t, g, func(cfg *gateway.Config) {
		cfg.Upstream, cfg.ForwardWrites, cfg.Tenants = g.client, c.forward, c.tenants
		cfg.ReadLog = func() (policy.ReadLog, error) { return edgeReads{g.client}, nil }
	}, func() {
		if err := g.replica.Close(); err != nil {
			t.Error(err)
		}
		if err := g.client.Close(); err != nil {
			t.Error(err)
		}
	})
}

type edgeReads struct{ *replication.Client }

func (edgeReads) ScanBack(context.Context, string, ledger.Sequence, time.Time) iter.Seq2[journal.Message, error] {
	return func(yield func(journal.Message, error) bool) { yield(journal.Message{}, ledger.ErrUnavailable) }
}

func dial(address string, token func() string) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if token != nil {
		options = append(options, grpc.WithPerRPCCredentials(bearer(token)))
	}
	return grpc.NewClient("passthrough:///"+address, options...)
}

type bearer func() string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b()}, nil
}
func (bearer) RequireTransportSecurity() bool { return false }

func (w *world) as(t *testing.T, c identity.Claims) context.Context {
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+w.Token(t, c))
}

// admin is a context of a caller with all roles in the tenant.
func (w *world) admin(t *testing.T, tenant ledger.Tenant) context.Context {
	roles := []identity.Role{identity.Reader, identity.Writer, identity.Admin, identity.Auditor}
	if tenant == ledger.System {
		roles = []identity.Role{identity.Operator}
	}
	return w.as(t, identity.Claims{Tenant: tenant, Roles: roles})
}

// write commits a value at the core.
func (w *world) write(t *testing.T, tenant ledger.Tenant, key, value string) ledger.Revision {
	t.Helper()
	resp, err := w.core.ledger.Commit(w.admin(t, tenant), &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: key, Value: value}}, AllowEmpty: true})
	if err != nil {
		t.Fatal(err)
	}
	return ledger.Revision(resp.Revision)
}

// fill writes n commits in turn to tenants.
func (w *world) fill(t *testing.T, n int, tenants ...ledger.Tenant) {
	t.Helper()
	for i := range n {
		w.write(t, tenants[i%len(tenants)], fmt.Sprintf("a/%d", i%7), fmt.Sprint(i))
	}
}

// history is the ids of a tenant's commits.
func history(r *replica.Replica, tenant ledger.Tenant) (ids []ledger.CommitID) {
	for rec, err := range r.TenantRecords(tenant, 0) {
		if err != nil {
			break // while the replica is being built
		}
		ids = append(ids, ledger.IDOf(rec.Encoded))
	}
	return ids
}

// raw is a tenant's commits as they travel.
func (w *world) raw(tenant ledger.Tenant) (all []*stelev1.ReplicatedCommit) {
	for rec, err := range w.node.Replica.TenantRecords(tenant, 0) {
		if err != nil {
			break // while the replica is being built
		}
		all = append(all, &stelev1.ReplicatedCommit{Position: uint64(rec.Sequence), Commit: rec.Encoded})
	}
	return all
}

// forge gives a commit other values, and the right form.
func forge(t *testing.T, rc *stelev1.ReplicatedCommit, change func(*stelev1.Commit)) *stelev1.ReplicatedCommit {
	t.Helper()
	var c stelev1.Commit
	if err := proto.Unmarshal(rc.Commit, &c); err != nil {
		t.Fatal(err)
	}
	change(&c)
	b, err := proto.Marshal(&c)
	if err != nil {
		t.Fatal(err)
	}
	return &stelev1.ReplicatedCommit{Position: rc.Position, Commit: b}
}

// equal waits until the edge has the core's history of the tenants.
func (w *world) equal(t *testing.T, g *gw, tenants ...ledger.Tenant) {
	t.Helper()
	for _, tenant := range tenants {
		until(t, fmt.Sprintf("%s at the edge equal to the core", tenant), func() bool {
			return slices.Equal(history(g.replica, tenant), history(w.node.Replica, tenant))
		})
	}
}

func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not reached in time", what)
		}
	}
}
