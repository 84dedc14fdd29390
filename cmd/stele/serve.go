package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/gateway/identity"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/journal"
	"github.com/stelehq/stele/ledger/routes"
)

// serveOptions are the flags of "stele serve".
type serveOptions struct {
	serverOptions

	roles    []string
	tenants  []string
	fallback string

	natsURL, natsCreds string
	natsMonitor        []string
	unsafeSync         bool
	shards, replicas   int
	checkpointKey      string

	jwks, issuer, audience  string
	tenantClaim, rolesClaim string
}

func serveCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve --nats-url URL --jwks FILE --issuer ISS --audience AUD",
		Short: "Run some roles of a ledger whose journal is on NATS servers of your own",
		Long: `Run roles of a ledger against NATS servers that someone else runs.

  ledger     takes writes; any number of processes may
  gateway    serves reads and watches from a replica of its own
  signer     keeps the tree of all commits, signs checkpoints, serves proofs
  projector  writes to the sinks that the routes name; one of all processes that
             have the role writes to a sink, and another takes over within seconds

A process without the role ledger is read-only: an edge gateway. It goes on
serving while the journal is away, and says how old its answers are.

The servers must run "jetstream { sync_interval: always }" and a max_payload of
8MB; --nats-monitor proves the first. Every flag but --config can be set in the
environment: --nats-url is STELE_NATS_URL.

The routes are those in the ledger, else those of --config, else, for a process
with the role projector or a fallback, those of AWS: tenantconfig/ goes to DynamoDB and
paramconfig/ to the Parameter Store (docs/sinks.md). Give all processes the same.`,
		Args:    cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnvironment(cmd.Flags()) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), o)
		},
	}
	f := cmd.Flags()
	o.addFlags(f, "info")
	f.StringSliceVar(&o.roles, "roles", []string{node.RoleLedger, node.RoleGateway}, "what to run: "+strings.Join(node.Roles, ", "))
	f.StringSliceVar(&o.tenants, "tenants", nil, "tenants to hold and serve (default all)")
	f.StringVar(&o.fallback, "fallback", "", "sink of the kind dynamodb that answers Get and BatchGet of tenants that --tenants leaves out")
	f.StringVar(&o.natsURL, "nats-url", "", "NATS servers, e.g. nats://10.0.0.1:4222,nats://10.0.0.2:4222")
	f.StringVar(&o.natsCreds, "nats-creds", "", "NATS credentials file")
	f.StringSliceVar(&o.natsMonitor, "nats-monitor", nil, "monitoring URLs of all NATS servers, to prove that they sync every write")
	f.BoolVar(&o.unsafeSync, "unsafe-sync", false, "accept NATS servers that may lose acknowledged writes in a power cut")
	f.IntVar(&o.shards, "shards", 0, "streams of a ledger that is created now (default 8)")
	f.IntVar(&o.replicas, "replicas", 3, "servers that hold each stream")
	f.StringVar(&o.checkpointKey, "checkpoint-key", "", "file of the key that the signer signs with, FILE.key; made when missing, with FILE.pub beside it")
	f.StringVar(&o.jwks, "jwks", "", "file with the public keys that tokens are checked with")
	f.StringVar(&o.issuer, "issuer", "", "issuer that tokens must have")
	f.StringVar(&o.audience, "audience", "", "audience that tokens must have")
	f.StringVar(&o.tenantClaim, "tenant-claim", "", "claim that holds the tenant (default tenant)")
	f.StringVar(&o.rolesClaim, "roles-claim", "", "claim that holds the roles (default roles)")
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
	cfg := node.Config{
		Data: o.data, Listen: o.listen, HTTP: o.http, Roles: o.roles, Reflection: o.reflection,
		NATS:          &node.NATS{URL: o.natsURL, Creds: o.natsCreds},
		Journal:       journal.Config{Shards: o.shards, Replicas: o.replicas, UnsafeSync: o.unsafeSync, MonitorURLs: o.natsMonitor},
		CheckpointKey: o.checkpointKey, Version: version(), Log: log,
	}
	for _, required := range []struct{ flag, value string }{
		{"nats-url", o.natsURL}, {"jwks", o.jwks}, {"issuer", o.issuer}, {"audience", o.audience},
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
			return failure.Usagef("--roles: there is no role %q: use %s", r, strings.Join(node.Roles, ", "))
		}
	}
	if slices.Contains(o.roles, node.RoleSigner) && o.checkpointKey == "" {
		return failure.Usagef("--checkpoint-key is needed for the role signer: all processes that sign use the same key")
	}
	for _, name := range o.tenants {
		t, err := ledger.ParseTenant(name)
		if err != nil {
			return failure.Usagef("--tenants: %w", err)
		}
		cfg.Tenants = append(cfg.Tenants, t)
	}
	if cfg.Fallback = o.fallback; o.fallback != "" && len(o.tenants) == 0 {
		return failure.Usagef("--fallback is for tenants that are not held, and without --tenants all are")
	}
	var usual *routes.Table
	if slices.Contains(o.roles, node.RoleProjector) || o.fallback != "" {
		usual = node.AWSRoutes()
	}
	if cfg.Routes, err = o.configuredRoutes(usual); err != nil {
		return err
	}
	keys, err := identity.LoadJWKS(o.jwks)
	if err != nil {
		return err
	}
	cfg.Verifier, err = identity.NewVerifier(identity.Config{
		Keys: keys, Issuer: o.issuer, Audience: o.audience, TenantClaim: o.tenantClaim, RolesClaim: o.rolesClaim,
	})
	if err != nil {
		return err
	}
	n, err := node.Start(ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "stele %s serves %s\n  gRPC  %s\n  HTTP  http://%s/metrics /healthz /readyz\n",
		version(), strings.Join(o.roles, " and "), n.GRPC(), n.HTTP())
	return n.Run(ctx)
}
