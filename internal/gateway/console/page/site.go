// Package page is what the console's pages share: a View is one request, with its
// user, its address and the calls to the gateway, and the layout around every page.
package page

import (
	"log/slog"

	"github.com/stelehq/stele/internal/gateway/console/assets"
	"github.com/stelehq/stele/internal/gateway/console/login"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
)

// Site is what all views of a console share.
type Site struct {
	Config  stelev1.ConfigClient
	Ledger  stelev1.LedgerClient
	Proof   stelev1.ProofClient
	Sinks   stelev1.SinksClient
	Schemas stelev1.SchemasClient
	Bases   stelev1.BasesClient

	Assets  *assets.Assets
	Cookies login.Cookies
	Log     *slog.Logger

	// rendering has room for the pages that are rendered at a time.
	rendering chan struct{}
}

// NewSite returns the site in front of a gateway. Each view adds its user's token to
// calls on the connection.
func NewSite(conn grpc.ClientConnInterface, cookies login.Cookies, log *slog.Logger) (*Site, error) {
	files, err := assets.Load()
	if err != nil {
		return nil, err
	}
	return &Site{
		Config: stelev1.NewConfigClient(conn), Ledger: stelev1.NewLedgerClient(conn), Proof: stelev1.NewProofClient(conn),
		Sinks: stelev1.NewSinksClient(conn), Schemas: stelev1.NewSchemasClient(conn), Bases: stelev1.NewBasesClient(conn),
		Assets: files, Cookies: cookies, Log: log, rendering: make(chan struct{}, maxRendering),
	}, nil
}

// Handler answers a view. Its error is shown as a page.
type Handler func(*View) error
