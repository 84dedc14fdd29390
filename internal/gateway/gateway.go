// Package gateway serves callers over the network: the Ledger, Config, Proof,
// Schemas and Sinks services over gRPC, the watch hub, and health and metrics over
// HTTP.
//
// A gateway reads from its process's replica, except for tenants that it does not hold
// and has a fallback for, so an answer costs no hop. The answer contains its revision
// and the age of the replica's data. Every call carries a token; the tenant comes only from
// the token, or from the header in which an operator names one. Requests are checked against
// the constraints in the schema and the caller's permissions before a handler gets them. A
// read that the tenant's policy requires to be recorded is answered only after its record is
// durable.
package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"sync"
	"time"

	"buf.build/go/protovalidate"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway/awssample"
	"github.com/stelehq/stele/internal/gateway/conn"
	"github.com/stelehq/stele/internal/gateway/flagsync"
	"github.com/stelehq/stele/internal/gateway/fleet"
	"github.com/stelehq/stele/internal/gateway/forward"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/redact"
	"github.com/stelehq/stele/internal/gateway/share"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/gateway/watch"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/schema"
	"github.com/stelehq/stele/internal/ledger/scrub"
	"github.com/stelehq/stele/internal/ledger/secret"
	"github.com/stelehq/stele/schemas/configuration"
	syncv1 "github.com/stelehq/stele/schemas/flagd/sync/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/test/bufconn"
)

// Config has the dependencies of a gateway.
type Config struct {
	// Replica holds the tenants that are served, and the ledger's own with the
	// policies.
	Replica  *replica.Replica
	Verifier *identity.Verifier
	// Ledger returns the write path, or why this process does not accept writes now;
	// nil makes the gateway permanently read-only.
	Ledger func() (*ledger.Ledger, error)
	// ReadLog returns the log of recorded reads, or why it is unreachable now; nil
	// rejects reads that a policy has recorded.
	ReadLog func() (policy.ReadLog, error)
	// Reads also serves the Config service, and the AWS reference implementation's.
	Reads bool
	// Environment is part of the names that the latter gives parameters; "dev" by
	// default, as there.
	Environment string
	// Tree is the source of proofs; without it, every call of the Proof service names
	// the roles that have one.
	Tree *proof.Tree
	// Scrubbed are the results of comparing the journal's copies with the tree; nil if
	// this process does not compare them.
	Scrubbed func() []scrub.Status
	// Cosigned is where checkpoints with the cosignatures of witnesses are; nil if this
	// process asks none.
	Cosigned Cosigned
	// Routes are those in force; nil routes nothing.
	Routes *routes.Source
	// Secrets reveals secrets and destroys them; without it, both are refused.
	Secrets *secret.Keyring
	// Schemas are the schemas in force; without them, no value is validated.
	Schemas *schema.Source
	// Refusals, if set, finds the changes of a commit that is not made yet which the
	// sinks of a table would reject. live yields the keys under a prefix that are set
	// before it, in order.
	Refusals func(t *routes.Table, c *ledger.Commit, live func(ledger.Prefix, func(ledger.Key) bool) error) ([]*stelev1.SinkRefusal, error)
	// CheckRoutes, if set, refuses routes with sinks that no process could open.
	CheckRoutes func(*routes.Table) error
	// Sinks returns the way to the processes that write to sinks, or why there is
	// none now; without it, there never is.
	Sinks func() (Sinks, error)
	// SinkMetrics, when set, are shown with the gateway's.
	SinkMetrics prometheus.Collector
	// Tenants that the gateway serves; empty for all.
	Tenants []ledger.Tenant
	// ID names this gateway to others.
	ID *stelev1.GatewayID
	// Upstream is set if the gateway is an edge: the replica follows it. ForwardWrites
	// sends writes there.
	Upstream      forward.Upstream
	ForwardWrites bool
	// Fallback, when set, answers Get and BatchGet of tenants that the gateway does
	// not hold, from the sink that FallbackSink names.
	Fallback     Fallback
	FallbackSink string
	// Version and Roles are returned by GetStatus.
	Version string
	Roles   []string
	// Reflection lets tools like grpcurl read the schema without a token.
	Reflection bool
	// TLS is how to speak with callers; nil is without.
	TLS *tls.Config
	// Connections limits the callers' connections.
	Connections conn.Config
	// Budget is the memory for requests and answers; one of a process without a limit by
	// default.
	Budget *budget.Budget
	// Stats, when set, traces calls.
	Stats stats.Handler
	Log   *slog.Logger
}

// streamWorkers is how many goroutines answer calls one after the other. A call that
// finds all of them busy gets its own, which costs more: its stack grows again with
// every call. A read took 25 us of CPU, and now 23; a write 79, now 72.
const streamWorkers = 256

// Gateway serves until Close.
type Gateway struct {
	cfg       Config
	server    *grpc.Server
	inProcess *grpc.Server // for the connections of a Front
	codec     codec
	health    *health.Server
	validate  protovalidate.Validator
	hub       *watch.Hub
	views     view.Opener
	forwarder *forward.Forwarder // nil unless the gateway is an edge
	redaction redact.Source
	policy    *policy.Enforcer
	metrics   *metrics
	limiter   *conn.Limiter
	checks    *share.Slots // for searches, and checks of values against schemas
	streams   *share.Slots // of all methods
	calls     *share.Slots // except streams
	follows   *share.Slots // for replications
	fleet     fleet.Registry
	lags      lagHistory
	started   time.Time

	closing context.Context // ends when Close begins
	cancel  context.CancelFunc
	running sync.WaitGroup // streams and the hub
}

// compileRules compiles the constraints in the schema once for all gateways of a process: that
// takes longer than everything else that a gateway does when it starts.
var compileRules = sync.OnceValues(func() (protovalidate.Validator, error) {
	return protovalidate.New(protovalidate.WithMessages(policy.Requests()...))
})

// New makes a gateway that is not yet listening.
func New(cfg Config) (*Gateway, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Environment = cmp.Or(cfg.Environment, "dev")
	if cfg.Budget == nil {
		cfg.Budget = budget.New(math.MaxInt64)
	}
	if cfg.ID == nil {
		cfg.ID = &stelev1.GatewayID{}
	}
	if cfg.Routes == nil {
		cfg.Routes = routes.NewSource(cfg.Replica, nil, cfg.Log)
	}
	if cfg.Schemas == nil {
		cfg.Schemas = schema.NewSource(cfg.Replica, cfg.Routes, nil)
	}
	validate, err := compileRules()
	if err != nil {
		return nil, fmt.Errorf("compile the schema's rules: %w", err)
	}
	g := &Gateway{cfg: cfg, codec: newCodec(), validate: validate, health: health.NewServer(), checks: share.New(maxChecks), streams: share.New(cfg.Budget.Streams), calls: share.New(cfg.Budget.Calls), follows: share.New(maxFollows), started: time.Now(),
		views: view.Opener{Replica: cfg.Replica}, redaction: redact.Source{Routes: cfg.Routes, Secrets: cfg.Secrets}}
	g.closing, g.cancel = context.WithCancel(context.Background())
	if cfg.Upstream != nil {
		g.forwarder = &forward.Forwarder{Upstream: cfg.Upstream, ID: cfg.ID, Writes: cfg.ForwardWrites, Replica: cfg.Replica, Log: cfg.Log, Running: &g.running}
	}
	cfg.Connections.Max = cmp.Or(cfg.Connections.Max, cfg.Budget.Connections)
	g.limiter = conn.New(cfg.Connections, cfg.Log)
	// An answer that waits for its client can also hold a part of the requests' share.
	cfg.Budget.Requests.Total.WhenShort(g.limiter.CloseStalled)
	cfg.Budget.Answers.WhenShort(g.limiter.CloseStalled)
	g.metrics = newMetrics(g)
	g.policy = policy.New(policy.Config{
		Replica: cfg.Replica, ReadLog: cfg.ReadLog, History: g.views.Commits, Refused: g.metrics.overLimit, MaxUnsent: cfg.Budget.Answers.Size() / 2, Log: cfg.Log,
	})
	g.hub = watch.NewHub(cfg.Replica, cfg.Budget.Answers, g.redaction.Live, g.policy.Announce, g.watchStatus)
	secure := insecure.NewCredentials()
	if cfg.TLS != nil {
		secure = credentials.NewTLS(cfg.TLS)
	}
	calls := interceptor{g}
	options := append(g.limiter.ServerOptions(secure),
		grpc.MaxRecvMsgSize(conn.MaxMessage),
		grpc.MaxSendMsgSize(2*conn.MaxMessage),
		grpc.ForceServerCodecV2(g.codec),
		grpc.UnaryInterceptor(calls.unary),
		grpc.StreamInterceptor(calls.stream),
		grpc.NumStreamWorkers(streamWorkers),
	)
	if cfg.Stats != nil {
		options = append(options, grpc.StatsHandler(cfg.Stats))
	}
	g.server = calls.newServer(options)
	// All callers of a server in front of the gateway share one connection. They have shares of the
	// calls and streams of the process, as the callers of other connections.
	g.inProcess = calls.newServer(append(options, grpc.MaxConcurrentStreams(math.MaxUint32)))
	g.running.Go(func() { g.hub.Run(g.closing) })
	if cfg.Reads && cfg.Sinks != nil && cfg.Upstream == nil { // an edge forwards the calls about sinks
		g.running.Go(func() { lagSampler{g}.run(g.closing) })
	}
	return g, nil
}

// newServer makes a server of all services.
func (g interceptor) newServer(options []grpc.ServerOption) *grpc.Server {
	server, cfg := grpc.NewServer(options...), g.cfg
	services := registrar{server, g}
	stelev1.RegisterLedgerServer(services, ledgerService{allCommits: allCommits{g.Gateway}})
	if cfg.Reads {
		stelev1.RegisterConfigServer(services, configService{g: g.Gateway})
		configuration.RegisterConfigServiceServer(services, awssample.New(awssample.Config{
			Replica: cfg.Replica, Policy: g.policy, Views: g.views, Redaction: g.redaction, Environment: cfg.Environment,
		}))
		syncv1.RegisterFlagSyncServiceServer(services, flagsync.New(flagsync.Config{Replica: cfg.Replica, Policy: g.policy, Views: g.views, Redaction: g.redaction}))
	}
	stelev1.RegisterProofServer(services, proofService{g: g.Gateway})
	stelev1.RegisterReplicationServer(services, replicationService{g: g.Gateway})
	stelev1.RegisterSchemasServer(services, schemasService{g: g.Gateway})
	stelev1.RegisterBasesServer(services, basesService{g: g.Gateway})
	stelev1.RegisterSinksServer(services, sinksService{g: g.Gateway})
	grpc_health_v1.RegisterHealthServer(services, g.health)
	if cfg.Reflection {
		reflection.Register(server)
	}
	return server
}

// Serve answers calls on the listener until Close.
func (g *Gateway) Serve(l net.Listener) error {
	if err := g.server.Serve(g.limiter.Listener(l)); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve gRPC on %s: %w", l.Addr(), err)
	}
	return nil
}

// closeTimeout is how long calls that are under way may take to finish.
const closeTimeout = 5 * time.Second

// Close asks clients to disconnect, waits for running calls, and returns when all
// goroutines have ended.
func (g *Gateway) Close() {
	g.health.Shutdown()
	g.cancel()
	hard := time.AfterFunc(closeTimeout, func() { g.server.Stop(); g.inProcess.Stop() })
	g.server.GracefulStop()
	g.inProcess.GracefulStop()
	hard.Stop()
	g.running.Wait()
}

// serves reports whether the gateway holds the tenant.
func (g *Gateway) serves(t ledger.Tenant) bool {
	return len(g.cfg.Tenants) == 0 || slices.Contains(g.cfg.Tenants, t)
}

// Front is what servers of other protocols in front of the gateway use of it.
type Front struct{ g *Gateway }

// Front returns what servers of other protocols use of the gateway.
func (g *Gateway) Front() Front { return Front{g} }

// Limit returns a listener whose connections are limited together with the gateway's. See
// conn.Limiter.HTTPListener.
func (f Front) Limit(l net.Listener, secure *tls.Config) net.Listener {
	return f.g.limiter.HTTPListener(l, secure)
}

// Verify returns who holds a token: a revoked one is rejected. While the policies cannot be read, it
// is the call that is refused.
func (f Front) Verify(token string) (*identity.Principal, error) {
	p, err := f.g.cfg.Verifier.Verify(token)
	if err != nil {
		return nil, err
	}
	if err := f.g.policy.NotRevoked(p); errors.Is(err, identity.ErrUnauthenticated) {
		return nil, err
	}
	return p, nil
}

// Connect connects to the gateway without a network. The calls are like all others, with tokens,
// permissions, limits and recorded reads. The connection has no limits: callers are limited when
// they connect to the servers in front. Close the connection before the gateway.
func (f Front) Connect() (*grpc.ClientConn, error) {
	l := bufconn.Listen(conn.ConnectionWindow)
	f.g.running.Go(func() { f.g.inProcess.Serve(l) }) // it ends, without more to say, when the gateway closes
	client, err := grpc.NewClient("passthrough:///in-process",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(2*conn.MaxMessage), grpc.MaxCallSendMsgSize(conn.MaxMessage)),
		grpc.WithIdleTimeout(0),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to the gateway in this process: %w", err)
	}
	return client, nil
}
