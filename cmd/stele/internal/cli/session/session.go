// Package session connects a command to a gateway: the global flags, the tenant to act
// for, revisions and times in flags, completion, confirmation, and writes that are retried
// until their outcome is known.
package session

import (
	"context"
	"fmt"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/claims"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/contexts"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Session is one command's connection to its gateways.
type Session struct {
	*output.Printer
	Config   stelev1.ConfigClient
	Ledger   stelev1.LedgerClient
	Sinks    stelev1.SinksClient
	Settings contexts.Settings
	// Tenant comes from the settings or the token; empty if only the
	// gateway knows it.
	Tenant ledger.Tenant
	// HistoryStart is where the last Commits ended because the gateway keeps no
	// earlier history; nil if it does not.
	HistoryStart *stelev1.HistoryStart
	Conn         *conn.Gateways
	// Timeout of a call, and of a write with its retries.
	Timeout time.Duration
}

// TokenTenant is the tenant that the token is bound to. The gateway reports problems of
// the token.
func (s *Session) TokenTenant() ledger.Tenant {
	token, err := s.Settings.ReadToken()
	if err != nil {
		return ""
	}
	cl, err := claims.Read(token)
	if err != nil {
		return ""
	}
	return ledger.Tenant(cl.Tenant)
}

// ActFor names the tenant to the gateway, unless the token does.
func (s *Session) ActFor(ctx context.Context) context.Context {
	if s.Tenant == "" || !s.Settings.TenantChosen && s.TokenTenant() != "" {
		return ctx
	}
	return conn.AsTenant(ctx, s.Tenant)
}

// Name writes a state in the usual notation: acme@42.
func (s *Session) Name(revision uint64) string {
	return fmt.Sprintf("%s%s", s.Tenant, ledger.Revision(revision))
}
