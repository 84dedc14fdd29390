// Package console is the web console: pages for users who read, change and roll back
// configuration. It is only a client of the gateway: every page makes calls with the
// user's own token, so that it shows nothing that the user could not read otherwise.
//
// A URL names the content of a page, with its revision: /acme/keys/tenantconfig/ is the
// newest state, and /acme@42/keys/tenantconfig/ the one after revision 42. Every page
// works without scripts; with them it is live.
package console

import (
	"log/slog"
	"net/http"

	"github.com/stelehq/stele/internal/gateway/console/login"
	"github.com/stelehq/stele/internal/gateway/share"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
)

// Config has the dependencies of a console.
type Config struct {
	// Conn is the connection to the gateway. The console adds each visitor's token.
	Conn grpc.ClientConnInterface
	// Secure: visitors come over TLS, here or in front of it, so that their cookies
	// may be kept from anything else.
	Secure bool
	// Provider is where visitors log in; nil lets them only paste a token.
	Provider *login.Provider
	// Link logs its first visitor in; nil for none.
	Link *login.Link
	Log  *slog.Logger
}

// Console serves the pages.
type Console struct {
	cfg     Config
	config  stelev1.ConfigClient
	ledger  stelev1.LedgerClient
	proof   stelev1.ProofClient
	sinks   stelev1.SinksClient
	schemas stelev1.SchemasClient
	assets  *assets
	lives   *share.Places // for pages that are notified of new commits
	// rendering has room for the pages that are made at a time.
	rendering chan struct{}
	handler   http.Handler

	tries login.Tries
	lags  lags
}

// New returns the console of a gateway.
func New(cfg Config) (*Console, error) {
	a, err := loadAssets()
	if err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Console{
		cfg: cfg, assets: a, lives: share.New(maxLive), rendering: make(chan struct{}, maxRendering),
		config: stelev1.NewConfigClient(cfg.Conn), ledger: stelev1.NewLedgerClient(cfg.Conn),
		proof: stelev1.NewProofClient(cfg.Conn), sinks: stelev1.NewSinksClient(cfg.Conn), schemas: stelev1.NewSchemasClient(cfg.Conn),
	}
	c.handler = secured(http.HandlerFunc(c.route))
	return c, nil
}

// ServeHTTP answers with a page.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }
