package node

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/appconfig"
	"github.com/stelehq/stele/internal/projector/directory"
	"github.com/stelehq/stele/internal/projector/dynamodb"
	"github.com/stelehq/stele/internal/projector/eventbridge"
	"github.com/stelehq/stele/internal/projector/parameterstore"
	"github.com/stelehq/stele/internal/projector/s3"
	"github.com/stelehq/stele/internal/projector/secretsmanager"
	"github.com/stelehq/stele/internal/projector/webhook"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// sinkKinds are the kinds of sinks that there are: a new one is a line here.
var sinkKinds = map[string]projector.Kind{
	"appconfig":      appconfig.Open,
	"directory":      directory.Open,
	"dynamodb":       dynamodb.Open,
	"eventbridge":    eventbridge.Open,
	"parameterstore": parameterstore.Open,
	"s3":             s3.Open,
	"secretsmanager": secretsmanager.Open,
	"webhook":        webhook.Open,
}

// sinkFits say what sinks of each kind would reject.
var sinkFits = map[string]projector.FitKind{
	"appconfig":      appconfig.Fit,
	"directory":      directory.Fit,
	"dynamodb":       dynamodb.Fit,
	"eventbridge":    eventbridge.Fit,
	"parameterstore": parameterstore.Fit,
	"s3":             s3.Fit,
	"secretsmanager": secretsmanager.Fit,
	"webhook":        webhook.Fit,
}

// refusals is what the gateway's plans warn of.
func refusals(table *routes.Table, c *ledger.Commit, live func(ledger.Prefix, func(ledger.Key) bool) error) ([]*stelev1.SinkRefusal, error) {
	return projector.Refusals(sinkFits, table, c, live)
}

// CheckRoutes refuses sinks of unknown kinds and with invalid settings.
func CheckRoutes(t *routes.Table) error { return projector.CheckSinks(sinkFits, t) }

// project begins to write to the sinks.
func (n *Node) project(ctx context.Context, a *attached) error {
	ctx, cancel := context.WithTimeout(ctx, attachTimeout)
	defer cancel()
	l := a.ledger
	if l == nil {
		// This process commits adopted values; it accepts no other writes.
		if a.adopts == nil {
			a.adopts = n.newLedger(a)
		}
		l = a.adopts
	}
	var err error
	a.projector, err = projector.Start(ctx, projector.Config{
		Replica: n.replica, Journal: a.journal, Conn: a.conn, Ledger: l, Routes: n.routes, Kinds: sinkKinds,
		Secrets: n.secrets, Dir: filepath.Join(n.cfg.Data, "materialized"), Destinations: n.cfg.Destinations,
		Keys: cmp.Or(n.cfg.SinkKeys, filepath.Join(n.cfg.Data, "sink-keys")), PrivateAddresses: n.cfg.SinkPrivateAddresses, Alone: n.server != nil, Metrics: n.sinkMetrics, Log: n.cfg.Log,
	})
	if err != nil {
		return fmt.Errorf("start the projector: %w", err)
	}
	return nil
}

// sinks is the gateway's way to the processes that write to sinks.
func (n *Node) sinks() (gateway.Sinks, error) {
	if n.upstream != nil {
		return nil, errEdge
	}
	a := n.attached.Load()
	if a == nil {
		return nil, errNotReached
	}
	return &projector.Control{Conn: a.conn, Journal: a.journal, Replica: n.replica}, nil
}

func (n *Node) newLedger(a *attached) *ledger.Ledger {
	return ledger.New(ledger.Config{
		Journal: a.journal, Replica: n.replica, Gate: n.gate, Log: n.cfg.Log, Observe: n.gateway.Committed, Check: checks(n.routes.Check(CheckRoutes), policy.Check),
		Seal: n.secrets.Seal, SealedFrom: n.secrets.SealedFrom, Sealable: n.secrets.Sealable, Reseal: n.secrets.Reseal, Schemas: n.schemas,
	})
}

// checks refuses what one of them refuses.
func checks(all ...func(ledger.Tenant, []ledger.Change) error) func(ledger.Tenant, []ledger.Change) error {
	return func(t ledger.Tenant, changes []ledger.Change) error {
		for _, check := range all {
			if err := check(t, changes); err != nil {
				return err
			}
		}
		return nil
	}
}
