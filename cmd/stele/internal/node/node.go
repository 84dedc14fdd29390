// Package node is one Stele process: it builds the parts that its roles need, in
// order, runs them, and closes them in the opposite order.
package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/conn"
	"github.com/stelehq/stele/internal/gateway/fleet"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/replication"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/bases"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/schema"
	"github.com/stelehq/stele/internal/ledger/scrub"
	"github.com/stelehq/stele/internal/ledger/secret"
	"github.com/stelehq/stele/internal/ledger/verify"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/witness"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/stats"
)

// The roles of a process.
const (
	RoleLedger    = "ledger"    // takes writes
	RoleGateway   = "gateway"   // serves reads and watches
	RoleSigner    = "signer"    // keeps the tree, signs checkpoints, serves proofs
	RoleProjector = "projector" // writes to sinks
)

// Roles are all that there are.
var Roles = []string{RoleLedger, RoleGateway, RoleSigner, RoleProjector}

// Config defines what to run.
type Config struct {
	// Data is the folder of everything that the process keeps.
	Data string
	// Listen is the gRPC address, HTTP the address of metrics and health, and Web the
	// address of the console and the REST API, which the role gateway serves; empty for
	// none.
	Listen, HTTP, Web string
	// AllowedHosts are names that HTTP and Web answer to; see checkHost.
	AllowedHosts []string
	// TLS is how to speak gRPC, and HTTPTLS the rest; nil is without TLS.
	TLS, HTTPTLS *tls.Config
	// Connections limits the connections of gRPC callers.
	Connections conn.Config
	// Console says how users of the console log in.
	Console Console
	Roles   []string
	// Tenants to replicate and serve, for an edge; empty for all.
	Tenants []ledger.Tenant
	// Upstream makes the process an edge gateway, which has no journal; nil for a process
	// that follows the journal itself.
	Upstream *Upstream
	// Environment is part of parameters' names for callers of the AWS reference
	// implementation; see gateway.Config.
	Environment string
	// NATS is the connection to external servers; nil embeds one, except for an edge.
	NATS *NATS
	// StaleAfter is the age of the data above which answers are marked stale; 0 for never.
	StaleAfter time.Duration
	// Journal says how to open it; Embedded and Log are filled in.
	Journal journal.Config
	// CheckpointKey is the file of the signer's key; it is created if missing, with its
	// public half next to it. See PublicKey.
	CheckpointKey string
	// ScrubInterval is how often the journal is compared with the tree, by a process with
	// the role signer; 0 for never.
	ScrubInterval time.Duration
	// WitnessURLs are asked to cosign checkpoints, and Witnesses their keys. For an edge,
	// Witnesses must have cosigned the upstream's checkpoints.
	WitnessURLs []string
	Witnesses   proof.Witnesses
	// SecretsKey is the file of the key that the tenants' keys for secrets are
	// encrypted with, made when missing, or the name of a key of AWS KMS; empty for
	// none. See secret.ErrNoKEK.
	SecretsKey string
	// Routes are in force until the ledger has its own; nil for none.
	Routes *routes.Table
	// Destinations says where sinks may send data, and which may receive secrets. Local
	// is filled in.
	Destinations projector.Destinations
	// SinkKeys is a folder with a file for each sink that signs what it sends; empty for
	// sink-keys in Data. SinkPrivateAddresses lets webhooks go to private addresses.
	SinkKeys             string
	SinkPrivateAddresses bool
	// Fallback is a sink that answers reads of tenants that are not held; empty for
	// none.
	Fallback string
	// Verifier checks tokens.
	Verifier *identity.Verifier
	// MemoryLimit is the memory limit of the process, in bytes, which the budget is a part
	// of.
	MemoryLimit int64
	Reflection  bool
	Version     string
	Log         *slog.Logger
}

// Node is one process's parts.
type Node struct {
	cfg         Config
	server      *journal.Server
	replica     *replica.Replica
	routes      *routes.Source
	secrets     *secret.Keyring
	schemas     *schema.Source
	sinkMetrics *projector.Metrics
	tree        *proof.Tree         // nil without the role
	scrubbed    *scrub.Results      // nil if the journal is not compared with the tree
	cosigned    *witness.Collector  // nil without witnesses
	fallback    *fallback           // nil without one
	upstream    *replication.Client // nil except for an edge
	gateway     *gateway.Gateway
	grpc        net.Listener
	http        net.Listener
	web         web // empty without one
	endTraces   func(context.Context) error

	// What needs the journal: nil until it was reached.
	attached atomic.Pointer[attached]
}

type attached struct {
	conn       *nats.Conn
	journal    *journal.Journal
	ledger     *ledger.Ledger       // nil without the role
	bases      *bases.Mover         // nil without the ledger's role
	projector  *projector.Projector // nil without the role
	announcer  *fleet.Announcer
	scrubber   *scrub.Scrubber    // nil if the journal is not compared with the tree
	treeServer *verify.TreeServer // nil without a tree
	adopts     *ledger.Ledger     // the projector's, where it has no other
	reads      lazyStream[journal.AuxStream]
	keys       lazyStream[journal.Bucket]
}

// Start builds a node. With an embedded journal it is ready when Start returns;
// with one elsewhere it may still be looking for it, and serves what its replica
// holds. Call Run, which also closes it.
func Start(ctx context.Context, cfg Config) (n *Node, err error) {
	cfg.Destinations.Local = cfg.Routes
	memory := budget.New(cfg.MemoryLimit)
	n = &Node{cfg: cfg}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return n, fmt.Errorf("make the data folder: %w", err)
	}
	if cfg.NATS == nil && cfg.Upstream == nil {
		shareProcessors()
		if n.server, err = journal.StartServer(journal.ServerConfig{Dir: filepath.Join(cfg.Data, "journal"), Log: cfg.Log, Epoch: cfg.knownEpoch}); err != nil {
			return n, err
		}
	}
	if n.replica, err = replica.Open(replica.Config{Path: filepath.Join(cfg.Data, "replica.db"), Tenants: held(cfg.Tenants), History: cfg.history(), Upstream: cfg.upstreams(), TailBytes: memory.Tail, StaleAfter: cfg.StaleAfter, Log: cfg.Log}); err != nil {
		return n, err
	}
	n.routes = routes.NewSource(n.replica, cfg.Routes, cfg.Log)
	kek, err := openKEK(ctx, cfg.SecretsKey)
	if err != nil {
		return n, err
	}
	n.secrets = secret.New(secret.Config{KEK: kek, Replica: n.replica, Routes: n.routes, Keys: n.keys})
	n.schemas = schema.NewSource(n.replica, n.routes, n.secrets)
	n.sinkMetrics = projector.NewMetrics()
	if slices.Contains(cfg.Roles, RoleSigner) {
		if n.tree, err = proof.OpenTree(proof.Config{Path: filepath.Join(cfg.Data, "tree.db"), Log: cfg.Log, Keys: cfg.publishKeys}); err != nil {
			return n, err
		}
		if cfg.ScrubInterval > 0 {
			if n.scrubbed, err = scrub.OpenResults(filepath.Join(cfg.Data, "scrub.json"), cfg.Log); err != nil {
				return n, err
			}
		}
		if err := n.collect(); err != nil {
			return n, err
		}
	}
	var traces stats.Handler
	if traces, n.endTraces, err = tracing(ctx, cfg.Version); err != nil {
		return n, err
	}
	gatewayConfig := gateway.Config{
		Replica: n.replica, Verifier: cfg.Verifier, Reads: slices.Contains(cfg.Roles, RoleGateway), Tenants: cfg.Tenants, Environment: cfg.Environment, Version: cfg.Version,
		Roles: cfg.Roles, Reflection: cfg.Reflection, Stats: traces, Log: cfg.Log, ReadLog: n.readLog, Tree: n.tree, TLS: cfg.TLS,
		Routes: n.routes, Secrets: n.secrets, Schemas: n.schemas, Refusals: refusals, CheckRoutes: CheckRoutes, Sinks: n.sinks, SinkMetrics: n.sinkMetrics, Connections: cfg.Connections, Budget: memory,
	}
	if n.cosigned != nil {
		gatewayConfig.Cosigned = n.cosigned
	}
	if n.scrubbed != nil {
		gatewayConfig.Scrubbed = n.scrubbed.Status
	}
	if slices.Contains(cfg.Roles, RoleLedger) {
		gatewayConfig.Ledger = n.ledger
	}
	if cfg.Fallback != "" {
		n.fallback = &fallback{sink: cfg.Fallback, destinations: cfg.Destinations, routes: n.routes, replica: n.replica, log: cfg.Log}
		gatewayConfig.Fallback, gatewayConfig.FallbackSink = n.fallback, cfg.Fallback
	}
	if n.grpc, err = net.Listen("tcp", cfg.Listen); err != nil {
		return n, fmt.Errorf("listen for gRPC: %w: choose another --listen", err)
	}
	gatewayConfig.ID = newID(n.GRPC())
	if cfg.Upstream != nil {
		n.upstream = n.replicate(gatewayConfig.ID)
		gatewayConfig.Upstream, gatewayConfig.ForwardWrites = n.upstream, cfg.Upstream.ForwardWrites
	}
	if n.gateway, err = gateway.New(gatewayConfig); err != nil {
		return n, err
	}
	if n.upstream != nil {
		n.replica.FollowUpstream(n.upstream)
	}
	if n.server != nil {
		if err := n.seek(ctx); err != nil {
			return n, err
		}
	}
	if n.http, err = net.Listen("tcp", cfg.HTTP); err != nil {
		return n, fmt.Errorf("listen for HTTP: %w: choose another --http", err)
	}
	n.http = conn.New(conn.Config{Max: maxHTTPConnections}, cfg.Log).HTTPListener(n.http, cfg.HTTPTLS)
	if cfg.Web != "" && slices.Contains(cfg.Roles, RoleGateway) {
		return n, n.openWeb(memory.Bodies)
	}
	return n, nil
}

// maxHTTPConnections bounds the connections for health and metrics. Connections of callers have a
// limit of their own, so that neither can keep the others out.
const maxHTTPConnections = 256

// held are the tenants that the replica holds: what is served, and the ledger's
// own, whose policies the gateway goes by.
func held(served []ledger.Tenant) []ledger.Tenant {
	if len(served) == 0 || slices.Contains(served, ledger.System) {
		return served
	}
	return append(slices.Clone(served), ledger.System)
}

// shareProcessors makes up for the embedded journal's syncs: a goroutine that
// waits for the disk keeps its processor until the runtime notices, so with one
// processor a core the cores idle. Twice as many made durable writes of 64
// callers 1.3 times as fast, and reads at most a twentieth slower. Once, however many
// nodes a process starts.
var shareProcessors = sync.OnceFunc(func() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	}
})

// GRPC, HTTP and Web are the addresses that the node listens on; the last is empty
// without one.
func (n *Node) GRPC() string { return n.grpc.Addr().String() }
func (n *Node) HTTP() string { return n.http.Addr().String() }
func (n *Node) Web() string {
	if n.web.listener == nil {
		return ""
	}
	return n.web.listener.Addr().String()
}

// How long an HTTP client may take for a request's headers and between two requests,
// and how many bytes its headers may have: a cookie holds a token.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 5 * time.Minute
	maxWebHeader      = 64 << 10
)

// AwaitReplica waits until the replica has followed the journal to its end once, or ctx ends.
// Reads before that are refused as unavailable.
func (n *Node) AwaitReplica(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !n.replica.Ready() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Run serves until ctx ends or a part fails, and closes the node.
func (n *Node) Run(ctx context.Context) error {
	defer n.close()
	admin := &http.Server{
		Handler:     checkHost(n.http, n.cfg.AllowedHosts, n.gateway.HTTP()),
		ReadTimeout: readHeaderTimeout, WriteTimeout: time.Minute, IdleTimeout: idleTimeout, MaxHeaderBytes: 16 << 10,
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.gateway.Serve(n.grpc) })
	group.Go(func() error { return serveHTTP(admin, n.http) })
	if n.web.server != nil {
		group.Go(func() error { return serveHTTP(n.web.server, n.web.listener) })
	}
	if n.upstream == nil {
		group.Go(func() error {
			if err := n.seek(ctx); ctx.Err() == nil {
				return err
			}
			return nil
		})
	}
	if slices.Contains(n.cfg.Roles, RoleLedger) && n.upstream == nil {
		group.Go(func() error {
			n.bindReads(ctx)
			return nil
		})
	}
	group.Go(func() error {
		<-ctx.Done()
		n.web.close()
		n.gateway.Close()
		return admin.Close()
	})
	return group.Wait()
}

func serveHTTP(s *http.Server, l net.Listener) error {
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	}
	return nil
}

var errNotReached = fmt.Errorf("%w: the journal has not been reached yet", ledger.ErrUnavailable)

// ledger is the gateway's way to the write path.
func (n *Node) ledger() (*ledger.Ledger, error) {
	a := n.attached.Load()
	if a == nil {
		return nil, errNotReached
	}
	if err := a.journal.Stopped(); err != nil {
		return nil, err
	}
	// While the comparison runs, a write waits for it and is not refused.
	if err := n.gate(); errors.Is(err, ledger.ErrReadOnly) {
		return nil, err
	}
	return a.ledger, nil
}

// seek attaches the node to its journal, however long that takes. What would
// not get better by waiting ends the node.
func (n *Node) seek(ctx context.Context) error {
	if n.attached.Load() != nil {
		return nil
	}
	return retry(ctx, n.cfg.Log, "the journal", n.attach)
}

func temporary(err error) bool {
	for _, e := range []error{nats.ErrNoServers, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrConnectionClosed, nats.ErrDisconnected,
		context.DeadlineExceeded, ledger.ErrUnavailable} {
		if errors.Is(err, e) {
			return true
		}
	}
	// A file's error may look like the network's: both end in a number of the
	// system's.
	var file *fs.PathError
	var link *os.LinkError
	if errors.As(err, &file) || errors.As(err, &link) {
		return false
	}
	var netErr net.Error
	return errors.As(err, &netErr)
}

// attach opens the journal, has the replica follow it, and opens the ledger.
func (n *Node) attach(ctx context.Context) (err error) {
	reach, cancel := context.WithTimeout(ctx, attachTimeout)
	defer cancel()
	a := &attached{}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if a.conn, err = n.connect(); err != nil {
		return err
	}
	cfg := n.cfg.Journal
	cfg.Embedded, cfg.Log = n.server, n.cfg.Log
	if a.journal, err = journal.Open(reach, a.conn, cfg); err != nil {
		return err
	}
	// Steps that fail while the journal is unreachable come before steps that are done
	// once.
	var sign func() error
	if n.tree != nil {
		if sign, err = n.signing(reach, a.journal); err != nil {
			return err
		}
	}
	if err := n.replica.Follow(a.journal); err != nil {
		return err
	}
	if sign != nil {
		if err := sign(); err != nil {
			return err
		}
		a.scrubber = n.scrub(a.journal)
		if a.treeServer, err = verify.ServeTree(a.conn, n.tree); err != nil {
			return err
		}
	}
	if slices.Contains(n.cfg.Roles, RoleLedger) {
		a.ledger = n.newLedger(a)
		a.bases = bases.Start(n.replica, a.ledger, n.cfg.Log)
	}
	if slices.Contains(n.cfg.Roles, RoleProjector) {
		// Replica and tree follow already, and cannot begin again with another try of attach.
		if err := retry(ctx, n.cfg.Log, "the streams of the sinks", func(ctx context.Context) error { return n.project(ctx, a) }); err != nil {
			return err
		}
	}
	if a.announcer, err = fleet.Announce(a.conn, n.gateway.Fleet(), n.gateway.Reports, n.cfg.Log); err != nil {
		return err
	}
	n.attached.Store(a)
	return nil
}

// close ends what attach began, except the replica and the tree, which follow until
// they are closed themselves.
func (a *attached) close() {
	a.stop()
	if a.journal != nil {
		a.journal.Close()
	}
	if a.conn != nil {
		a.conn.Close()
	}
}

// stop ends what reads the replica and writes to the journal. It may be called more
// than once.
func (a *attached) stop() {
	if a.scrubber != nil {
		a.scrubber.Close()
	}
	if a.treeServer != nil {
		a.treeServer.Close()
	}
	if a.announcer != nil {
		a.announcer.Close()
	}
	if a.projector != nil {
		a.projector.Close()
	}
	if a.bases != nil {
		a.bases.Close()
	}
	for _, l := range []*ledger.Ledger{a.ledger, a.adopts} {
		if l != nil {
			l.Close()
		}
	}
}

func (n *Node) close() {
	n.web.close()
	if n.gateway != nil {
		n.gateway.Close()
	}
	if n.fallback != nil {
		n.fallback.close()
	}
	a := n.attached.Load()
	if a != nil {
		a.stop()
	}
	if n.replica != nil {
		if err := n.replica.Close(); err != nil {
			n.cfg.Log.Error("close replica", "error", err)
		}
	}
	if n.upstream != nil {
		if err := n.upstream.Close(); err != nil {
			n.cfg.Log.Error("close the connections to upstreams", "error", err)
		}
	}
	if n.cosigned != nil {
		n.cosigned.Close()
	}
	if n.tree != nil {
		if err := n.tree.Close(); err != nil {
			n.cfg.Log.Error("close tree", "error", err)
		}
	}
	if a != nil {
		a.close()
	}
	if n.server != nil {
		n.server.Close()
	}
	for _, l := range []net.Listener{n.grpc, n.http} {
		if l != nil {
			l.Close()
		}
	}
	if n.endTraces != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := n.endTraces(ctx); err != nil {
			n.cfg.Log.Warn("send the last traces", "error", err)
		}
	}
}
