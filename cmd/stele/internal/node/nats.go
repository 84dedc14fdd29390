package node

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/internal/netaddr"
)

// NATS says how to reach the journal's servers.
type NATS struct {
	// URL is one or several, with commas between.
	URL string
	// Creds is a .creds file, NKey a file with an nkey's seed; empty for none.
	Creds, NKey string
	// TLS shows the servers a certificate, and says whose CA theirs are of.
	TLS certs.Files
	// Plaintext lets servers on other machines be spoken to without TLS.
	Plaintext bool
}

// A server that does not answer two pings in a row, for example because it is stopped or its
// network drops everything, is left for another one.
const (
	pingInterval    = 2 * time.Second
	unansweredPings = 2
)

func (n *Node) connect() (*nats.Conn, error) {
	if n.server != nil {
		return n.server.Connect()
	}
	return n.cfg.NATS.Connect(n.cfg.Log)
}

// Connect makes a connection, which then reconnects without end, and logs what the servers
// report.
func (c NATS) Connect(log *slog.Logger) (*nats.Conn, error) {
	servers, err := c.servers()
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	options, err := c.options(servers, log)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	options = append(options, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("NATS reports an error", "error", err) }))
	nc, err := nats.Connect(c.URL, options...)
	switch {
	case errors.Is(err, nats.ErrSecureConnWanted):
		err = fmt.Errorf("%w: it speaks no TLS, which servers on other machines must; --plaintext accepts it", err)
	case errors.Is(err, nats.ErrAuthorization):
		err = fmt.Errorf("%w: %s", err, c.rejected())
	}
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w", shown(servers), err)
	}
	return nc, nil
}

// rejected says which credentials the servers do not accept.
func (c NATS) rejected() string {
	switch {
	case c.NKey != "":
		seed, err := os.ReadFile(c.NKey)
		var pair nkeys.KeyPair
		if err == nil {
			pair, err = nkeys.ParseDecoratedNKey(seed)
		}
		var public string
		if err == nil {
			public, err = pair.PublicKey()
		}
		if err != nil { // it could be read for the connection
			public = "the nkey"
		}
		return fmt.Sprintf("no user of the servers has %s, which is the public key of %s: add it to their accounts", public, c.NKey)
	case c.Creds != "":
		return "the servers do not accept the user of " + c.Creds
	}
	return "the servers require credentials: pass --nats-nkey, --nats-creds or --nats-cert"
}

// servers are those of the URL.
func (c NATS) servers() ([]*url.URL, error) {
	var servers []*url.URL
	for server := range strings.SplitSeq(c.URL, ",") {
		server = strings.TrimSpace(server)
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		u, err := url.Parse(server)
		if err != nil { // its text has the URL, which may have a password
			return nil, errors.New("a server address is not a URL: write nats://HOST:PORT,nats://HOST:PORT")
		}
		servers = append(servers, u)
	}
	return servers, nil
}

// shown are the servers without passwords.
func shown(servers []*url.URL) string {
	var texts []string
	for _, u := range servers {
		texts = append(texts, u.Redacted())
	}
	return strings.Join(texts, ",")
}

func elsewhere(server *url.URL) bool { return !netaddr.IsLoopback(server.Hostname()) }

func (c NATS) options(servers []*url.URL, log *slog.Logger) ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name("stele"), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(unansweredPings),
	}
	if c.Creds != "" {
		options = append(options, nats.UserCredentials(c.Creds))
	}
	if c.NKey != "" {
		nkey, err := nats.NkeyOptionFromSeed(c.NKey)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.NKey, err)
		}
		options = append(options, nkey)
	}
	if c.TLS != (certs.Files{}) || !c.Plaintext && slices.ContainsFunc(servers, elsewhere) {
		options = append(options, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS13}))
	}
	// Called for every connection: certificates may change meanwhile.
	certificate, roots := c.TLS.Reload(log)
	var show nats.TLSCertHandler
	var trust nats.RootCAsHandler
	if c.TLS.Cert != "" || c.TLS.Key != "" {
		show = certificate
	}
	if c.TLS.CA != "" {
		trust = roots
	}
	if show != nil || trust != nil {
		options = append(options, nats.ClientTLSConfig(show, trust))
	}
	return options, nil
}
