// Package eventbridge sends every change to an event bus.
//
// Each change of a key becomes one event, "Configuration Changed", whose detail is an
// events.ConfigurationChanged. Every change arrives on the bus at least once: after a
// lost answer, or a killed projector, it is sent again. Events of a key are sent in the
// order of its revisions, each after the one before was accepted; but EventBridge
// guarantees its targets no order. So a consumer stores the newest revision of each
// tenant's key and skips older events; or, if it must see every change once, the commit
// id and position of each. (Tenant, revision and position are equivalent within one
// ledger.)
//
// The event carries the value only if the key's route allows it, and only if it is
// small enough for the bus and its targets. An event whose content EventBridge rejects
// is parked, and no other waits for it.
package eventbridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
)

// settings are the sink's settings in the routes.
type settings struct {
	awssdk.Account
	// Bus is the bus's name or ARN.
	Bus string `json:"bus"`
	// Source is the events' "source", which rules match.
	Source string `json:"source"`
	// EndpointID is a global endpoint's, which sends events to a second region while the
	// first one fails.
	EndpointID string `json:"endpoint_id,omitzero"`
}

// sink is one bus.
type sink struct {
	client *eventbridge.Client
	region string
	bus    string
	source string
	// endpoint is nil without a global endpoint.
	endpoint  *string
	perTenant bool // each tenant has credentials of its own

	log *slog.Logger

	mu   sync.Mutex // lets one call at a time look for the bus
	seen time.Time  // the bus was there

	warnings atomic.Pointer[string]
}

// Fit reports which writes such a sink would reject. Writes that the bus accepts
// without their value are accepted.
func Fit(s projector.Settings) (projector.Fit, error) {
	set, err := read(s)
	if err != nil {
		return projector.Fit{}, err
	}
	b := &sink{bus: set.Bus, source: set.Source}
	return projector.Fit{Refuses: func(w projector.Write) error {
		if _, err := b.event(0, w); err != nil {
			return projector.Refuse("%v", err)
		}
		return nil
	}}, nil
}

func read(s projector.Settings) (settings, error) {
	set := settings{Bus: "default", Source: "stele"}
	if err := s.Decode(&set); err != nil {
		return set, err
	}
	switch {
	case set.Bus == "":
		return set, fmt.Errorf("settings of sink %s: \"bus\" is empty", s.Name)
	case set.Source == "" || strings.HasPrefix(set.Source, "aws."):
		return set, fmt.Errorf("settings of sink %s: \"source\" is %q: it must not be empty, nor begin with \"aws.\", which is for AWS alone", s.Name, set.Source)
	}
	if err := set.Account.Check(); err != nil {
		return set, fmt.Errorf("settings of sink %s: %w", s.Name, err)
	}
	return set, nil
}

// Open makes the sink. Its bus is looked for when it is first written to.
func Open(ctx context.Context, s projector.Settings) (projector.Sink, error) {
	set, err := read(s)
	if err != nil {
		return nil, err
	}
	cfg, err := set.Account.Load(ctx, s)
	if err != nil {
		return nil, err
	}
	b := &sink{
		client: eventbridge.NewFromConfig(cfg), region: cfg.Region, bus: set.Bus, source: set.Source, perTenant: set.PerTenant(),
		log: cmp.Or(s.Log, slog.New(slog.DiscardHandler)),
	}
	if set.EndpointID != "" {
		b.endpoint = &set.EndpointID
	}
	return b, nil
}

// Limits allows a few concurrent requests: 4 of 10 events at 20 ms are 200 requests per
// second, and the smallest regions allow 400.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
func (s *sink) Limits() projector.Limits { return projector.Limits{Batch: 100, Parallel: 4} }

func (s *sink) Close() error { return nil }

// recheck is how long a bus that was there is taken to be there.
const recheck = time.Minute

// checkBus finds out whether there is a bus: EventBridge takes events for one that
// is not there, says that it has them, and drops them
// (https://github.com/aws/aws-sdk/issues/186).
func (s *sink) checkBus(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.seen) < recheck {
		return nil
	}
	begun := time.Now()
	_, err := s.client.DescribeEventBus(ctx, &eventbridge.DescribeEventBusInput{Name: aws.String(s.bus)})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		return fmt.Errorf("event bus %q does not exist in %s: create it, or correct \"bus\" in the sink's settings", s.bus, s.region)
	}
	if awssdk.Denied(err) {
		// A bus of another account usually allows events:PutEvents alone.
		s.warn(fmt.Sprintf("it is not allowed to call events:DescribeEventBus on bus %s, so it cannot find out whether the bus exists: EventBridge drops events for a bus that does not", s.bus))
		s.seen = begun
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for event bus %q in %s: %w", s.bus, s.region, err)
	}
	s.warn("")
	s.seen = begun
	return nil
}

// warn replaces the warning.
func (s *sink) warn(what string) {
	if was := s.warnings.Swap(&what); what != "" && (was == nil || *was != what) {
		s.log.Warn("the event bus cannot be checked", "reason", what)
	}
}

// Warnings reports that the bus cannot be looked for.
func (s *sink) Warnings() []string {
	if w := s.warnings.Load(); w != nil && *w != "" {
		return []string{*w}
	}
	return nil
}
