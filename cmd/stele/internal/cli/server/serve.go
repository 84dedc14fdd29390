package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/cmd/stele/internal/cli/trust"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/cmd/stele/internal/version"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
)

// serveOptions are the flags of "stele serve".
type serveOptions struct {
	serverOptions
	trust   trust.Options
	console consoleOptions

	roles       []string
	tenants     []string
	fallback    string
	environment string

	// tls is the certificate for callers, and the CA of their certificates.
	tls certs.Files

	natsOptions
	upstream      node.Upstream
	history       string
	checkpointKey string
	secretsKey    string
}

func ServeCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:                   "serve (--nats-url URL | --upstream HOST) --issuer ISS --audience AUD",
		DisableFlagsInUseLine: true,
		Short:                 "Run roles of a ledger on your own NATS servers, or an edge gateway",
		Long: `Run roles of a ledger against NATS servers that you run, or an edge gateway that
replicates from other gateways.

  ledger     accepts writes; any number of processes can have this role
  gateway    serves reads and watches from its own replica
  signer     keeps the tree of all commits, signs checkpoints, serves proofs
  projector  writes to the sinks in the routes; one of the processes with this
             role holds the lease of each sink, and another takes over within
             seconds

An edge gateway has no access to NATS: with --upstream it replicates the tenants
of --tenants (or '*') from one of the given gateways, which can be edges
themselves, and fails over between them. It keeps serving while none is
reachable, and reports how old its answers are. Its token (--token-file) names
the tenants that it is allowed to replicate: see "stele token mint --replicates"
and docs/edge.md.

Tokens are verified with the keys of the issuer, an OIDC provider, or with
--jwks. Key rotation is detected automatically. Connections to other machines
use TLS 1.3 only.

The NATS servers require "jetstream { sync_interval: always }" and a max_payload
of 8MB; --nats-monitor verifies the first. Every flag except --config has an
environment variable, for example STELE_NATS_URL for --nats-url.

The routes come from the ledger, otherwise from --config. Without either, a
process with the role projector or a fallback uses the AWS defaults:
tenantconfig/ goes to DynamoDB and paramconfig/ to Parameter Store
(docs/sinks.md). Use the same routes in all processes.`,
		Args:    cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnvironment(cmd.Flags()) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), o)
		},
	}
	f := cmd.Flags()
	o.serverOptions.addFlags(f, "info")
	f.StringSliceVar(&o.roles, "roles", []string{node.RoleLedger, node.RoleGateway}, "roles to run: "+strings.Join(node.Roles, ", "))
	f.StringSliceVar(&o.upstream.Addresses, "upstream", nil, "gateways to replicate from instead of NATS, HOST:PORT, in order of preference")
	f.StringSliceVar(&o.tenants, "tenants", nil, "with --upstream: tenants to replicate and serve, or '*' for all")
	f.StringVar(&o.upstream.TokenFile, "token-file", "", "with --upstream: file with this edge's token; read again for every connection")
	f.StringVar(&o.upstream.TLS.CA, "upstream-ca", "", "file with the CA of the upstreams' certificates")
	f.StringVar(&o.upstream.TLS.Cert, "upstream-cert", "", "client certificate for the upstreams; reloaded when it changes")
	f.StringVar(&o.upstream.TLS.Key, "upstream-key", "", "private key of the certificate")
	f.BoolVar(&o.upstream.ForwardWrites, "forward-writes", false, "with --upstream: forward writes to it with the caller's token")
	f.StringVar(&o.history, "history", historyAll, "with --upstream: how much history to keep: all, none, or a duration, for example 30d")
	f.IntVar(&o.witnesses.quorum, "witness-quorum", 0, "with --upstream: how many of the witnesses must have cosigned the upstream's checkpoints (default more than half of --witness-key)")
	f.StringVar(&o.fallback, "fallback", "", "sink of the kind dynamodb that answers Get and BatchGet of tenants that --tenants leaves out")
	f.StringVar(&o.environment, "environment", "dev", "environment segment of parameter names, between tenant and service, for callers of the AWS reference implementation")
	f.StringVar(&o.tls.Cert, "tls-cert", "", "server certificate with its chain; reloaded when it changes")
	f.StringVar(&o.tls.Key, "tls-key", "", "private key of the certificate")
	f.StringVar(&o.tls.CA, "client-ca", "", "file with the CA of the certificates that gRPC callers must present in addition to their tokens")
	o.natsOptions.addFlags(f)
	f.StringVar(&o.checkpointKey, "checkpoint-key", "", "file with the signer's key, FILE.key; created if missing, with FILE.pub next to it")
	f.StringVar(&o.secretsKey, "secrets-key", "", "file with the key that encrypts the tenants' keys, created if missing, or aws-kms://ARN; the same for all processes")
	o.trust.AddFlags(f)
	o.console.addFlags(f)
	return cmd
}

// flagsFromEnvironment sets the flags that were not given: --nats-url from
// STELE_NATS_URL. STELE_CONFIG is not --config, but the file of the contexts.
func flagsFromEnvironment(flags *pflag.FlagSet) error {
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		name := "STELE_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		if !ok || f.Changed || f.Name == "config" || failed != nil {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			failed = failure.Usagef("%s: %w", name, err)
		}
	})
	return failed
}

func serve(ctx context.Context, out, errOut io.Writer, o serveOptions) error {
	log, err := o.logger(errOut)
	if err != nil {
		return err
	}
	limit, err := o.setMemoryLimit(log)
	if err != nil {
		return err
	}
	o.nats.Plaintext, o.upstream.Plaintext = o.plaintext, o.plaintext
	cfg := node.Config{
		SinkKeys: o.sinkKeys, SinkPrivateAddresses: o.sinkPrivateAddresses,
		Data: o.data, Listen: o.listen, HTTP: o.http, Web: o.web, Roles: o.roles, Environment: o.environment, Reflection: o.reflection,
		StaleAfter:    o.staleAfter,
		ScrubInterval: o.scrubInterval,
		MemoryLimit:   limit.Bytes,
		Journal:       o.journal(),
		CheckpointKey: o.checkpointKey, SecretsKey: o.secretsKey, Version: version.String(), Log: log,
	}
	for _, required := range []struct{ flag, value string }{
		{"issuer", o.trust.Issuer}, {"audience", o.trust.Audience},
	} {
		if required.value == "" {
			return failure.Usagef("--%s is needed", required.flag)
		}
	}
	if len(o.roles) == 0 {
		return failure.Usagef("--roles: name some of %s", strings.Join(node.Roles, ", "))
	}
	for _, r := range o.roles {
		if !slices.Contains(node.Roles, r) {
			return failure.Usagef("--roles: unknown role %q: use %s", r, strings.Join(node.Roles, ", "))
		}
	}
	if slices.Contains(o.roles, node.RoleSigner) && o.checkpointKey == "" {
		return failure.Usagef("--checkpoint-key is needed for the role signer: all processes that sign use the same key")
	}
	if cfg.WitnessURLs, cfg.Witnesses, err = o.openWitnesses(); err != nil {
		return err
	}
	if err := o.journalOrUpstream(&cfg); err != nil {
		return err
	}
	if cfg.Fallback = o.fallback; o.fallback != "" && len(cfg.Tenants) == 0 {
		return failure.Usagef("--fallback requires --tenants: without it, this process serves every tenant itself")
	}
	var usual *routes.Table
	if slices.Contains(o.roles, node.RoleProjector) || o.fallback != "" {
		usual = node.AWSRoutes()
	}
	if cfg.Routes, err = o.configuredRoutes(usual); err != nil {
		return err
	}
	cfg.AllowedHosts = slices.Concat(o.allowedHosts, o.console.hosts())
	if cfg.Destinations, err = o.allowedDestinations(); err != nil {
		return err
	}
	if cfg.Connections, err = o.connections.config(); err != nil {
		return err
	}
	if cfg.TLS, cfg.HTTPTLS, err = o.openTLS(log); err != nil {
		return err
	}
	if cfg.Console, err = o.openConsole(); err != nil {
		return err
	}
	verifier, keys, err := o.trust.Open(ctx, log)
	if err != nil {
		return err
	}
	defer keys.Close()
	cfg.Verifier = verifier
	checking, stop := context.WithCancel(ctx)
	var check sync.WaitGroup
	check.Go(func() { o.trust.CheckUserPool(checking, verifier, log) })
	defer check.Wait()
	defer stop()
	n, err := node.Start(ctx, cfg)
	if err != nil {
		return err
	}
	scheme := "http"
	if cfg.HTTPTLS != nil {
		scheme = "https"
	}
	fmt.Fprintf(out, "stele %s serves %s\n  gRPC  %s\n  HTTP  %s://%s/metrics /healthz /readyz\n",
		version.String(), strings.Join(o.roles, " and "), n.GRPC(), scheme, n.HTTP())
	if n.Web() != "" {
		fmt.Fprintf(out, "  web   %s://%s\n", scheme, n.Web())
	}
	return n.Run(ctx)
}

// openWitnesses says which witnesses the signer asks, or an edge requires.
func (o *serveOptions) openWitnesses() ([]string, proof.Witnesses, error) {
	w, err := o.witnesses.open(o.plaintext)
	switch edge := len(o.upstream.Addresses) > 0; {
	case err != nil:
		return nil, w, err
	case len(o.witnesses.urls) > 0 && !slices.Contains(o.roles, node.RoleSigner):
		return nil, w, failure.Usagef("--witness requires the role signer")
	case o.witnesses.quorum != 0 && !edge:
		return nil, w, failure.Usagef("--witness-quorum requires --upstream")
	case len(w.Keys) > 0 && len(o.witnesses.urls) == 0 && !edge:
		return nil, w, failure.Usagef("--witness-key requires --witness, or --upstream for an edge gateway")
	}
	return o.witnesses.urls, w, nil
}

// journalOrUpstream says what the process follows.
func (o *serveOptions) journalOrUpstream(cfg *node.Config) error {
	if len(o.upstream.Addresses) == 0 {
		switch {
		case o.nats.URL == "":
			return failure.Try(failure.Usagef("--nats-url is needed"), "--nats-url URL, or --upstream HOST:PORT for an edge gateway")
		case o.history != historyAll:
			return failure.Usagef("--history requires --upstream: a process that follows the journal keeps all history")
		case len(o.tenants) > 0 || o.upstream.TokenFile != "" || o.upstream.ForwardWrites || o.upstream.TLS != (certs.Files{}):
			return failure.Usagef("--tenants, --token-file, --forward-writes and --upstream-... require --upstream")
		}
		cfg.NATS = &o.nats
		return nil
	}
	switch {
	case o.nats.URL != "":
		return failure.Usagef("--nats-url and --upstream: give one; an edge gateway does not use NATS")
	case !slices.Equal(o.roles, []string{node.RoleGateway}):
		return failure.Usagef("--upstream requires --roles gateway: an edge has no journal to write to")
	case o.upstream.TokenFile == "":
		return failure.Try(failure.Usagef("--upstream requires --token-file"), "stele token mint NAME --replicates TENANT,TENANT >FILE")
	case len(o.tenants) == 0:
		return failure.Try(failure.Usagef("--upstream requires --tenants"), "--tenants acme,globex, or --tenants '*' if the token allows it")
	}
	for _, address := range o.upstream.Addresses {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return failure.Usagef("--upstream %s: write HOST:PORT", address)
		}
	}
	history, err := parseHistory(o.history)
	if err != nil {
		return err
	}
	o.upstream.History = history
	cfg.Upstream = &o.upstream
	if slices.Equal(o.tenants, []string{identity.AllTenants}) {
		return nil
	}
	for _, name := range o.tenants {
		t, err := ledger.ParseTenant(name)
		if err != nil {
			return failure.Usagef("--tenants: %w", err)
		}
		cfg.Tenants = append(cfg.Tenants, t)
	}
	return nil
}

// Values of --history that are not durations.
const (
	historyAll  = "all"
	historyNone = "none"
)

// minHistory is the shortest duration of --history: less is hardly more than none.
const minHistory = time.Minute

// parseHistory reads --history: all, none, days such as 30d, or a duration such as 12h.
func parseHistory(text string) (replica.History, error) {
	switch text {
	case historyAll:
		return replica.History{}, nil
	case historyNone:
		return replica.History{HeadOnly: true}, nil
	}
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		if n, err = strconv.Atoi(days); err == nil && n <= 36500 {
			d = time.Duration(n) * 24 * time.Hour
		}
	}
	if err != nil || d < minHistory {
		return replica.History{}, failure.Usagef("--history %s: write all, none, or a duration of at least %s, for example 30d or 12h", text, minHistory)
	}
	return replica.History{For: d}, nil
}

// openTLS reads the certificates of the two listeners. Health and metrics require no
// client certificate: the CA of the callers is for gRPC.
func (o *serveOptions) openTLS(log *slog.Logger) (grpc, http *tls.Config, err error) {
	if o.tls.Cert == "" {
		if o.tls != (certs.Files{}) {
			return nil, nil, failure.Usagef("--tls-key and --client-ca need --tls-cert")
		}
		if address := o.exposed(); address != "" {
			return nil, nil, failure.Try(failure.Usagef("%s is reachable from other machines and requires TLS", address),
				"--tls-cert FILE --tls-key FILE, or --plaintext where something between speaks TLS")
		}
		return nil, nil, nil
	}
	if grpc, err = certs.Server(o.tls, log); err != nil {
		return nil, nil, fmt.Errorf("prepare TLS: %w", err)
	}
	if http, err = certs.Server(certs.Files{Cert: o.tls.Cert, Key: o.tls.Key}, log); err != nil {
		return nil, nil, fmt.Errorf("prepare TLS: %w", err)
	}
	return grpc, http, nil
}
