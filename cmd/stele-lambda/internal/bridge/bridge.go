// Package bridge handles the events that stele-lambda gets.
//
// "Configuration Changed" is sent to all services that are configured for the key. On
// "Parameter Store Change" of aws.ssm the gateway compares that parameter with the
// ledger. An error makes Lambda retry the event, and then send it to its dead-letter
// queue, so services are notified of a change at least once.
package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	awsevents "github.com/aws/aws-lambda-go/events"
	"github.com/stelehq/stele/schemas/events"
)

// Attributes of Parameter Store's events.
// https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-cwe.html
const (
	parameterSource = "aws.ssm"
	parameterChange = "Parameter Store Change"
)

// Bridge handles events.
type Bridge struct {
	targets []target
	secret  string
	gateway gateway
	log     *slog.Logger
	// lookup returns the addresses of a host.
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// New makes a Bridge.
func New(cfg Config) *Bridge {
	return &Bridge{targets: cfg.targets, secret: cfg.secret, gateway: cfg.gateway, log: cfg.Log, lookup: net.DefaultResolver.LookupNetIP}
}

// Handle handles one event.
func (b *Bridge) Handle(ctx context.Context, e awsevents.EventBridgeEvent) error {
	switch {
	case e.DetailType == events.ConfigurationChangedType:
		return b.notify(ctx, e.Detail)
	case e.DetailType == parameterChange && e.Source == parameterSource:
		return b.compare(ctx, e.Detail)
	}
	return fmt.Errorf("event %s is %q of %q; this function is for %q, and for %q of %q: correct the rule that sends it",
		e.ID, e.DetailType, e.Source, events.ConfigurationChangedType, parameterChange, parameterSource)
}
