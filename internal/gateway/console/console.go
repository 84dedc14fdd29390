// Package console is the web console: pages for users who read, change and roll back
// configuration. It is only a client of the gateway: every page makes calls with the
// user's own token, so that it shows nothing that the user could not read otherwise.
//
// A URL names the content of a page, with its revision: /acme/keys/tenantconfig/ is the
// newest state, and /acme@42/keys/tenantconfig/ the one after revision 42. Every page
// works without scripts; with them it is live.
//
// This package routes requests. The pages are in one package each, named as in their
// URLs; page is what they share.
package console

import (
	"log/slog"
	"net/http"

	"github.com/stelehq/stele/internal/gateway/body"
	"github.com/stelehq/stele/internal/gateway/console/login"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/identity"
	"google.golang.org/grpc"
)

// Config has the dependencies of a console.
type Config struct {
	// Conn is the connection to the gateway. The console adds each user's token.
	Conn grpc.ClientConnInterface
	// Secure: users connect over TLS, here or to a proxy, so that their cookies are
	// sent over TLS only.
	Secure bool
	// Provider is the identity provider for logins; nil lets users only paste a token.
	Provider *login.Provider
	// Link logs its first user in; nil for none.
	Link *login.Link
	// Mint signs a token with the local identity; nil if tokens come from elsewhere.
	Mint func(identity.Claims) (string, error)
	// Bodies is the memory of forms.
	Bodies body.Memory
	Log    *slog.Logger
}

// Console serves the pages.
type Console struct {
	site    *page.Site
	own     map[string]route // pages that belong to no tenant, by path
	tenant  map[string]route // pages of a tenant, by the word after it
	bodies  body.Memory
	handler http.Handler
}

// New returns the console of a gateway.
func New(cfg Config) (*Console, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	site, err := page.NewSite(cfg.Conn, login.Cookies{Secure: cfg.Secure}, cfg.Log)
	if err != nil {
		return nil, err
	}
	c := &Console{site: site, own: ownPages(cfg), tenant: tenantPages(cfg), bodies: cfg.Bodies}
	c.handler = secured(http.HandlerFunc(c.route))
	return c, nil
}

// ServeHTTP responds with a page.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }
