package node_test

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/porttest"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// natsServer is a server of the journal that can be stopped and started again.
type natsServer struct {
	opts *server.Options
	*server.Server
}

func (s *natsServer) start(t *testing.T) {
	t.Helper()
	opts := *s.opts
	srv, err := server.NewServer(&opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatal("the nats-server does not start")
	}
	s.Server, s.opts.Port = srv, opts.Port
}

func (s *natsServer) stop() {
	s.Shutdown()
	s.WaitForShutdown()
}

// process is a node that runs, and a client of its gateway.
type process struct {
	cfg    node.Config
	tls    certs.Files // the client's
	signer *identity.Signer

	grpc, http string // where it listens
	config     stelev1.ConfigClient
	ledger     stelev1.LedgerClient
	proof      stelev1.ProofClient
	stop       func()
}

func (p *process) start(t *testing.T) {
	t.Helper()
	n, err := node.Start(t.Context(), p.cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.grpc, p.http = n.GRPC(), n.HTTP()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- n.Run(ctx) }()
	cc, err := conn.Dial(p.grpc, p.tls, func() (string, error) {
		return p.signer.Mint(identity.Claims{Subject: "olga", Tenant: "acme", Roles: []identity.Role{identity.Operator}, TTL: time.Hour})
	})
	if err != nil {
		t.Fatal(err)
	}
	p.config, p.ledger, p.proof = stelev1.NewConfigClient(cc), stelev1.NewLedgerClient(cc), stelev1.NewProofClient(cc)
	p.stop = func() {
		cc.Close()
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		p.stop = func() {}
	}
}

// upstream lets an edge replicate from the process with a token for these tenants.
func (p *process) upstream(t *testing.T, tenants ...string) *node.Upstream {
	t.Helper()
	token, err := p.signer.Mint(identity.Claims{Subject: "edge", Replicates: tenants, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &node.Upstream{Addresses: []string{p.grpc}, TokenFile: file}
}

// freePort is a port that stays the test's own while nothing listens there.
func freePort(t *testing.T) int {
	t.Helper()
	return int(netip.MustParseAddrPort(porttest.Free(t, 1)[0]).Port())
}

func startNATS(t *testing.T) *natsServer {
	t.Helper()
	s := &natsServer{opts: &server.Options{Host: "127.0.0.1", Port: freePort(t), JetStream: true, SyncAlways: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true}}
	s.start(t)
	t.Cleanup(func() { s.stop() })
	return s
}

// processes starts processes of one ledger; the test stops them.
func processes(t *testing.T, nats *natsServer) func(node.Config) *process {
	t.Helper()
	signer, err := identity.OpenSigner(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := identity.NewVerifier(identity.Config{Keys: signer.Keys(), Issuer: identity.LocalIssuer, Audience: identity.LocalAudience})
	if err != nil {
		t.Fatal(err)
	}
	return func(cfg node.Config) *process {
		t.Helper()
		cfg.Data, cfg.Listen, cfg.HTTP = t.TempDir(), porttest.Free(t, 1)[0], "127.0.0.1:0"
		cfg.Verifier, cfg.Log = verifier, slog.New(slog.DiscardHandler)
		if cfg.Upstream == nil {
			cfg.NATS = &node.NATS{URL: nats.ClientURL()}
			cfg.Journal.UnsafeSync = true // nothing here cuts the power
		}
		p := &process{cfg: cfg, signer: signer}
		p.start(t)
		return p
	}
}

// An edge gateway that holds one tenant follows the policies and has its upstream record
// reads. Without its upstream it refuses the reads to record and serves the others.
func TestEdge_RecordsReads(t *testing.T) {
	nats := startNATS(t)
	run := processes(t, nats)
	writer := run(node.Config{Roles: []string{node.RoleLedger, node.RoleGateway}})
	defer func() { writer.stop() }()
	edge := run(node.Config{Roles: []string{node.RoleGateway}, Tenants: []ledger.Tenant{"acme"}, Upstream: writer.upstream(t, "acme")})
	defer func() { edge.stop() }()

	acme, system := conn.AsTenant(t.Context(), "acme"), conn.AsTenant(t.Context(), ledger.System)
	commit := func(ctx context.Context, key, value string) {
		t.Helper()
		until(t, "commit", func() bool {
			_, err := writer.ledger.Commit(ctx, &stelev1.CommitRequest{RequestId: key, Changes: []*stelev1.Change{{Key: key, Value: value}}})
			return err == nil
		})
	}
	get := func(key string) error {
		_, err := edge.config.Get(acme, &stelev1.GetRequest{Key: key})
		return err
	}
	listed := func(p *process) int {
		t.Helper()
		resp, err := p.ledger.ListReads(acme, &stelev1.ListReadsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return len(resp.Reads)
	}
	commit(acme, "secrets/a", "1")
	commit(acme, "public/a", "1")
	commit(system, "policy/acme/reads", `{"record":["secrets/"]}`)
	until(t, "an edge that has the keys", func() bool { return get("public/a") == nil && get("secrets/a") == nil })
	until(t, "an edge that has the policy", func() bool { return get("secrets/a") == nil && listed(edge) > 0 })
	if before := listed(writer); get("secrets/a") != nil || get("public/a") != nil || listed(edge) != before+1 {
		t.Errorf("after a read of each key there are %d records, not one more than %d", listed(edge), before)
	}
	if _, err := edge.config.Get(system, &stelev1.GetRequest{Key: "policy/acme/reads"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("the edge holds the policies, but it does not serve them: %v", err)
	}

	writer.stop()
	for _, when := range []string{"without its upstream", "after a restart without its upstream"} {
		if err := get("secrets/a"); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "must be recorded") {
			t.Errorf("a read to be recorded %s: %v, want UNAVAILABLE", when, err)
		}
		if err := get("public/a"); err != nil {
			t.Errorf("another read %s: %v", when, err)
		}
		if _, err := edge.ledger.ListReads(acme, &stelev1.ListReadsRequest{}); status.Code(err) != codes.Unavailable {
			t.Errorf("ListReads %s: %v, want UNAVAILABLE", when, err)
		}
		edge.stop()
		edge.start(t)
	}
	writer.start(t)
	until(t, "an edge that records again", func() bool { return get("secrets/a") == nil })
	if listed(edge) == 0 {
		t.Error("the records are gone")
	}
}

func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it does not come", what)
		}
	}
}
