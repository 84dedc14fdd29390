// Package server has the commands that run servers, up and serve, and those that prepare
// NATS and back up and restore a ledger.
package server

import (
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/pflag"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/memory"
	"github.com/stelehq/stele/internal/netaddr"
	"github.com/stelehq/stele/internal/projector"
)

// serverOptions are the flags that every server has.
type serverOptions struct {
	data, listen, http, web string
	config                  string
	logLevel                string
	reflection              bool
	plaintext               bool
	connections             connectionOptions
	destinations            projector.Destinations
	allowedHosts            []string
	sinkKeys                string
	sinkPrivateAddresses    bool
	memoryLimit             memory.Size
	staleAfter              time.Duration
	scrubInterval           time.Duration
	witnesses               witnessOptions
}

func (o *serverOptions) addFlags(f *pflag.FlagSet, level string) {
	f.StringVar(&o.data, "data", "stele-data", "data directory")
	f.StringVar(&o.config, "config", "", "routes file (default stele.yaml, if it exists)")
	f.StringVar(&o.listen, "listen", "127.0.0.1:7070", "gRPC address")
	f.StringVar(&o.http, "http", "127.0.0.1:7071", "HTTP address of metrics and health checks")
	f.StringVar(&o.web, "web", "127.0.0.1:7072", "HTTP address of the console and the REST API, which the role gateway serves; \"\" for none")
	f.StringSliceVar(&o.allowedHosts, "allowed-hosts", nil, "host names that --http and --web accept; loopback listeners accept localhost and loopback addresses (the host of --console-url is always accepted)")
	f.BoolVar(&o.plaintext, "plaintext", false, "allow plaintext from other machines (a proxy terminates TLS)")
	o.connections.addFlags(f)
	f.StringSliceVar(&o.destinations.Endpoints, "sink-endpoints", nil, "endpoint URLs, and webhook hosts as https://HOST, that sinks in the ledger's routes are allowed to use; those in the routes file are always allowed")
	f.StringSliceVar(&o.destinations.Roles, "sink-roles", nil, "AWS roles that sinks in the ledger's routes are allowed to assume; those in the routes file are always allowed")
	f.StringSliceVar(&o.destinations.Directories, "sink-directories", nil, "absolute directories that sinks in the ledger's routes are allowed to write to, in addition to the data directory")
	f.StringSliceVar(&o.destinations.Secrets, "sink-secrets", nil, "names of sinks that are allowed to receive secrets; those with a secret and secure route in the routes file always are")
	f.StringVar(&o.sinkKeys, "sink-keys", "", "directory with a file of signing keys for each webhook sink (default sink-keys in the data directory)")
	f.BoolVar(&o.sinkPrivateAddresses, "sink-private-addresses", false, "allow webhooks to loopback and private addresses")
	f.BoolVar(&o.reflection, "reflection", false, "enable gRPC reflection without a token, for example for grpcurl")
	f.DurationVar(&o.staleAfter, "stale-after", time.Minute, "age of the data above which answers are marked stale; 0 for never")
	f.DurationVar(&o.scrubInterval, "scrub-interval", 24*time.Hour, "how often the role signer reads the whole journal and compares it with the tree, to find damaged disks; 0 for never")
	o.witnesses.addFlags(f)
	f.Var(&o.memoryLimit, "memory-limit", "memory limit, for example 512MiB (default GOMEMLIMIT, 75% of the cgroup's limit, or half of the machine's memory)")
	f.StringVar(&o.logLevel, "log-level", level, "log level: debug, info, warn or error")
}

// exposed says which address other machines can reach; empty when none, or when
// they may speak without TLS.
func (o *serverOptions) exposed() string {
	for _, address := range []string{o.listen, o.http, o.web} {
		host, _, err := net.SplitHostPort(address)
		if err == nil && !netaddr.IsLoopback(host) && !o.plaintext {
			return address
		}
	}
	return ""
}

func (o *serverOptions) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return nil, failure.Usagef("--log-level %q: use debug, info, warn or error", o.logLevel)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), nil
}

// allowedDestinations are where the flags let sinks send data.
func (o *serverOptions) allowedDestinations() (projector.Destinations, error) {
	d := o.destinations
	d.Plaintext = o.plaintext
	if err := d.Validate(); err != nil {
		return d, failure.Usagef("--sink-endpoints, --sink-directories: %w", err)
	}
	return d, nil
}

// setMemoryLimit sets the memory limit of the process and returns it.
func (o *serverOptions) setMemoryLimit(log *slog.Logger) (memory.Limit, error) {
	limit, err := memory.Set(o.memoryLimit)
	if err != nil {
		return limit, failure.With(failure.Usage, err)
	}
	log.Info("memory limit", "limit", limit)
	return limit, nil
}
