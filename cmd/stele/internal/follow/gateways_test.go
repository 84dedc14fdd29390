package follow_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/certs"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/cmd/stele/internal/follow"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/gatewaytest"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// A watch leaves a gateway that can be reached and answers UNAVAILABLE, at the beginning
// as well.
func TestWatch_UnavailableGatewayIsLeft(t *testing.T) {
	works := gatewaytest.Start(t, nil)
	broken := gatewaytest.Start(t, func(_ *ledgertest.Node, cfg *gateway.Config) {
		empty, err := replica.Open(replica.Config{Path: t.TempDir() + "/replica.db"}) // it follows no journal
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { empty.Close() })
		cfg.Replica, cfg.Verifier = empty, works.Verifier
	})
	token := works.Token(t, identity.Claims{Subject: "ann", Tenant: "acme", Roles: []identity.Role{identity.Operator}})
	addresses := broken.Dial(t).Target() + "," + works.Dial(t).Target()
	if _, err := works.Node.Ledger.Commit(t.Context(), "acme", ledger.ChangeSet{Author: "ann", Changes: []ledger.Change{{Key: "a/b", Value: "1"}}}); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("seen")
	for name, watch := range map[string]func(context.Context, *conn.Gateways) error{
		"one tenant": func(ctx context.Context, g *conn.Gateways) error {
			return follow.Watch(ctx, follow.Config{
				Client: stelev1.NewConfigClient(g), Gateways: g.Count(), Prefixes: []string{""}, From: 1,
				Commit: func(*stelev1.WatchCommit) error { return enough },
				Lost:   func(err error, _ string) { t.Errorf("lost: %v", err) },
			})
		},
		"all tenants": func(ctx context.Context, g *conn.Gateways) error {
			return follow.All(ctx, follow.AllConfig{
				Client: stelev1.NewLedgerClient(g), Gateways: g.Count(), After: new(uint64),
				Commit: func(*stelev1.PlacedCommit) error { return enough },
				Lost:   func(err error, _ string) { t.Errorf("lost: %v", err) },
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := conn.Open(addresses, certs.Files{}, func() (string, error) { return token, nil })
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := watch(ctx, g); !errors.Is(err, enough) {
				t.Errorf("the watch ended: %v", err)
			}
		})
	}
}
