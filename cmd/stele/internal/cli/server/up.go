package server

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/contexts"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/cmd/stele/internal/version"
	"github.com/stelehq/stele/internal/gateway/console/login"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger/journal"
)

const (
	// The local token's lifetime is for a developer's machine; it is replaced at every
	// start.
	localTokenTTL = 365 * 24 * time.Hour
	// sessionTTL is how long a user of the console is logged in by the link.
	sessionTTL   = 12 * time.Hour
	localContext = "local"
	// announceAfter is how long stele up waits for its replica before it announces itself.
	announceAfter = 10 * time.Second
)

func UpCommand() *cobra.Command {
	var o serverOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything on this machine: journal, ledger, gateway, local identity",
		Long: `Run everything in one process: an embedded NATS JetStream that syncs every
write, the ledger, the gateway, a signer of checkpoints, a projector, and an
identity that signs tokens for this machine only.

The projector writes to the sinks in the routes (docs/sinks.md). The routes come
from the ledger, otherwise from --config. Without either, one sink writes every
key to a file.

The command writes an operator's token into the data directory and a context for
the command line, so that "stele -t acme set KEY VALUE" works without
configuration. Ctrl-C stops the server. Start it again with the same data
directory to continue.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return up(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), o)
		},
	}
	o.addFlags(cmd.Flags(), "warn")
	return cmd
}

func up(ctx context.Context, out, errOut io.Writer, o serverOptions) error {
	log, err := o.logger(errOut)
	if err != nil {
		return err
	}
	limit, err := o.setMemoryLimit(log)
	if err != nil {
		return err
	}
	if address := o.exposed(); address != "" {
		return failure.Try(failure.Usagef("%s is reachable from other machines, and stele up does not use TLS", address),
			"stele serve with --tls-cert and --tls-key, or --plaintext if a proxy terminates TLS")
	}
	routes, err := o.configuredRoutes(node.LocalRoutes())
	if err != nil {
		return err
	}
	destinations, err := o.allowedDestinations()
	if err != nil {
		return err
	}
	data, err := filepath.Abs(o.data)
	if err != nil {
		return fmt.Errorf("find the data folder: %w", err)
	}
	signer, err := identity.OpenSigner(filepath.Join(data, "identity"))
	if err != nil {
		return err
	}
	verifier, err := identity.NewVerifier(identity.Config{Keys: signer.Keys(), Issuer: identity.LocalIssuer, Audience: identity.LocalAudience})
	if err != nil {
		return err
	}
	token, err := mintLocal(signer, localTokenTTL)
	if err != nil {
		return err
	}
	link := login.NewLink(func() (string, error) { return mintLocal(signer, sessionTTL) })
	key := filepath.Join(data, "identity", "checkpoint.key")
	connections, err := o.connections.config()
	if err != nil {
		return err
	}
	witnesses, err := o.witnesses.open(o.plaintext)
	if err != nil {
		return err
	}
	n, err := node.Start(ctx, node.Config{
		Data: data, Listen: o.listen, HTTP: o.http, Web: o.web, Roles: node.Roles, CheckpointKey: key, Routes: routes, Destinations: destinations, AllowedHosts: o.allowedHosts,
		SinkKeys: o.sinkKeys, SinkPrivateAddresses: o.sinkPrivateAddresses,
		SecretsKey:  filepath.Join(data, "identity", "secrets.key"),
		WitnessURLs: o.witnesses.urls, Witnesses: witnesses,
		Console: node.Console{Link: link, Mint: signer.Mint}, Connections: connections,
		StaleAfter: o.staleAfter, ScrubInterval: o.scrubInterval,
		Journal: journal.Config{}, Verifier: verifier, MemoryLimit: limit.Bytes, Reflection: o.reflection, Version: version.String(), Log: log,
	})
	if err != nil {
		return err
	}
	// A read right after the announcement is answered. A replica that is built again from a long
	// journal takes longer: reads fail until it is there, and the errors say so.
	soon, cancel := context.WithTimeout(ctx, announceAfter)
	n.AwaitReplica(soon)
	cancel()
	file := filepath.Join(data, "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the token: %w", err)
	}
	written, err := writeContext(localAddress(n.GRPC()), file)
	if err != nil {
		return err
	}
	announce(out, n, data, file, link.Code(), node.PublicKey(key), written)
	if err := n.Run(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "stopped; the data is in", data)
	return nil
}

// mintLocal mints the operator's token of this machine.
func mintLocal(s *identity.Signer, ttl time.Duration) (string, error) {
	subject := "local"
	if user := os.Getenv("USER"); user != "" {
		subject = user
	}
	return s.Mint(identity.Claims{Subject: subject, Roles: []identity.Role{identity.Operator, identity.Admin}, TTL: ttl})
}

// localAddress is the address at which this machine finds a listener: one for every
// address of the machine is spoken to without TLS only here.
func localAddress(address string) string {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !ap.Addr().IsUnspecified() {
		return address
	}
	return fmt.Sprintf("127.0.0.1:%d", ap.Port())
}

// writtenContext is the context that a server has written, and the current one.
type writtenContext struct{ path, name, current string }

// writeContext writes how to reach this server. The context of a server with another data
// folder keeps its name: commands must not silently go to the other one.
func writeContext(address, token string) (w writtenContext, err error) {
	if w.path, err = contexts.Path(); err != nil {
		return w, err
	}
	f, err := contexts.Load(w.path)
	if err != nil {
		return w, err
	}
	w.name = f.NameFor(token, localContext)
	w.current = cmp.Or(f.Current, w.name)
	return w, contexts.Put(w.path, w.name, contexts.Context{Address: address, TokenFile: token})
}

func announce(out io.Writer, n *node.Node, data, token, code, key string, written writtenContext) {
	stele := version.Program()
	if written.current != written.name {
		stele += " --context " + written.name
	}
	console, rest := "none", "none"
	if n.Web() != "" {
		console = "http://" + localAddress(n.Web()) + "/login?code=" + code + " (logs in once)"
		rest = "http://" + localAddress(n.Web()) + "/v1/openapi.json"
	}
	fmt.Fprintf(out, `stele %s is up. Ctrl-C stops it.

  console  %s
  REST     %s
  gRPC     %s
  HTTP     http://%s/metrics /healthz /readyz
  data     %s
  token    %s (an operator's: name the tenant with -t)
  proofs   %s (the public key: keep a copy elsewhere)
  context  %s in %s

Try in another terminal:
  %[11]s -t acme set tenantconfig/checkout/timeout_ms 250
  %[11]s -t acme get tenantconfig/checkout/timeout_ms
  %[11]s -t acme watch
  %[11]s -t acme log
  %[11]s --help
`, version.String(), console, rest, n.GRPC(), n.HTTP(), data, token, key, written.name, written.path, stele)
}
