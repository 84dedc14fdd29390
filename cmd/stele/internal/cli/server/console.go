package server

import (
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/gateway/console/login"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/netaddr"
)

// consoleOptions are the flags that say how users of the console log in.
type consoleOptions struct {
	url, client, secretFile, token string
	scopes                         []string
}

func (o *consoleOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.url, "console-url", "", "where browsers find the console, e.g. https://config.example.com; needed for logins at the issuer")
	f.StringVar(&o.client, "console-client", "", "the console's client id at the issuer, where users then log in (default: users paste a token)")
	f.StringVar(&o.secretFile, "console-secret", "", "file with the client's secret; none for a public client")
	f.StringSliceVar(&o.scopes, "console-scopes", []string{"openid"}, "scopes that the console asks for")
	f.StringVar(&o.token, "console-token", "", "which of the issuer's tokens the gateway takes: access or id (default access; with --claims cognito id)")
}

// openConsole returns how users log in. The issuer is asked when the first one comes.
func (o *serveOptions) openConsole() (c node.Console, err error) {
	host, _, err := net.SplitHostPort(o.web)
	c.Secure = strings.HasPrefix(o.console.url, "https://") || err == nil && o.plaintext && !netaddr.IsLoopback(host)
	if o.console.client == "" {
		if o.console.secretFile != "" || o.console.token != "" {
			return c, failure.Usagef("--console-secret and --console-token need --console-client")
		}
		return c, nil
	}
	if o.console.url == "" {
		return c, failure.Usagef("--console-client needs --console-url: the issuer redirects users to it")
	}
	if u, err := url.Parse(o.console.url); err == nil && u.Scheme == "http" && !netaddr.IsLoopback(u.Hostname()) {
		return c, failure.Usagef("--console-url %s: logins go by https, or by http on this machine", o.console.url)
	}
	cfg := login.ProviderConfig{Issuer: o.trust.Issuer, URL: o.console.url, ClientID: o.console.client, Scopes: o.console.scopes}
	switch o.console.token {
	case "":
		cfg.IDToken = identity.Preset(o.trust.Claims) == identity.Cognito
	case "access", "id":
		cfg.IDToken = o.console.token == "id"
	default:
		return c, failure.Usagef("--console-token %q: use access or id", o.console.token)
	}
	if o.console.secretFile != "" {
		secret, err := os.ReadFile(o.console.secretFile)
		if err != nil {
			return c, failure.Usagef("--console-secret: %w", err)
		}
		cfg.ClientSecret = strings.TrimSpace(string(secret))
	}
	if cfg.Client, err = identity.Client(identity.KeyringConfig{Issuer: o.trust.Issuer, Private: o.trust.Private}); err != nil {
		return c, failure.Usagef("--issuer: %w", err)
	}
	if c.Provider, err = login.NewProvider(cfg); err != nil {
		return c, failure.Usagef("--console-url: %w", err)
	}
	return c, nil
}

// hosts are the names by which browsers find the console.
func (o *consoleOptions) hosts() []string {
	u, err := url.Parse(o.url)
	if err != nil || u.Hostname() == "" {
		return nil
	}
	return []string{strings.ToLower(u.Hostname())}
}
