// Package appconfig is the sink that keeps hosted configurations of AWS AppConfig equal to
// the ledger, for programs that read their settings from AppConfig's agents.
//
// Each tenant has an application of its own, with one environment and one hosted
// configuration profile. The configuration is a document with all of the tenant's keys
// that are routed to the sink (package document). The sink's items are the members of the
// document that is deployed: it makes no difference what versions exist that are not.
//
// A change becomes a new version of the configuration, and a deployment of it. Both are
// conditional: they name the newest version and the newest deployment that the change is
// based on, so that a request that arrives late, or comes from a process that has lost
// the sink, is rejected. AppConfig runs one deployment at a time per environment; changes
// wait until it has finished, and then go together.
package appconfig

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/appconfig"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
	"github.com/stelehq/stele/internal/projector/internal/naming"
	"golang.org/x/time/rate"
)

// settings of a sink in the routes.
type settings struct {
	awssdk.Account
	// Application is the name of a tenant's application; "{tenant}" in it stands for the
	// tenant, and must occur once. Empty means "stele-{tenant}".
	Application string `json:"application,omitzero"`
	// Environment and Profile are the names of each application's environment and
	// configuration profile; empty means "live" and "settings".
	Environment string `json:"environment,omitzero"`
	Profile     string `json:"profile,omitzero"`
	// Strategy is the ID of the deployment strategy; empty means "AppConfig.AllAtOnce".
	Strategy string `json:"strategy,omitzero"`
	// Strip is a common prefix of all keys of the sink that the document leaves out.
	Strip naming.Strip `json:"strip,omitzero"`
	// MaxBytes is the quota of the account for hosted configurations; 0 means 1 MiB.
	MaxBytes int `json:"max_bytes,omitzero"`
	// Tags are put on what the sink creates; "{tenant}" in a value stands for the tenant.
	Tags awssdk.Tags `json:"tags,omitzero"`
	// Reads is the most tenants per second that a sweep reads; 0 means 5.
	Reads float64 `json:"reads,omitzero"`
}

const (
	defaultMaxBytes = 1 << 20
	largestMaxBytes = 2 << 20
	defaultReads    = 5
	// parallel is how many tenants are written at once.
	parallel = 8
	maxTags  = 50
)

// Store is the sink.
type Store struct {
	client    *appconfig.Client
	transport *http.Transport
	layout    naming.PerTenant
	set       settings
	epoch     ledger.Epoch
	log       *slog.Logger
	reads     *rate.Limiter

	mu      sync.Mutex // guards the fields below
	tenants map[ledger.Tenant]tenant
	warning string
}

// Open requires what is needed to call AppConfig, and calls nothing.
func Open(ctx context.Context, cfg projector.Settings) (projector.Sink, error) {
	set, l, err := read(cfg)
	if err != nil {
		return nil, err
	}
	account, err := set.Account.Load(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{
		layout: l, set: set, epoch: cfg.Epoch, log: cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)),
		transport: awshttp.NewBuildableClient().GetTransport(), reads: awssdk.Limiter(set.Reads),
		tenants: make(map[ledger.Tenant]tenant),
	}
	s.transport.MaxIdleConnsPerHost = parallel
	s.client = appconfig.NewFromConfig(account, func(o *appconfig.Options) {
		o.HTTPClient = awssdk.HTTPClient(s.transport)
		o.Retryer = awssdk.Retryer()
	})
	return s, nil
}

// read returns the settings with their defaults.
func read(cfg projector.Settings) (set settings, l naming.PerTenant, err error) {
	if err := cfg.Decode(&set); err != nil {
		return set, l, err
	}
	set.Environment, set.Profile = cmp.Or(set.Environment, "live"), cmp.Or(set.Profile, "settings")
	set.Strategy, set.MaxBytes, set.Reads = cmp.Or(set.Strategy, "AppConfig.AllAtOnce"), cmp.Or(set.MaxBytes, defaultMaxBytes), cmp.Or(set.Reads, defaultReads)
	switch l, err = naming.NewPerTenant("application", cmp.Or(set.Application, "stele-{tenant}"), set.Strip); {
	case err != nil:
	case len(set.Environment) > maxName || len(set.Profile) > maxName:
		err = fmt.Errorf("environment and profile have at most %d characters", maxName)
	case set.MaxBytes < 0 || set.MaxBytes > largestMaxBytes:
		err = fmt.Errorf("max_bytes is %d: it is a number of bytes up to %d", set.MaxBytes, largestMaxBytes)
	case set.Reads < 0:
		err = fmt.Errorf("reads is %v: it is tenants per second", set.Reads)
	default:
		err = cmp.Or(set.Account.Check(), set.Tags.Check(maxTags))
	}
	if err != nil {
		err = fmt.Errorf("settings of sink %s: %w", cfg.Name, err)
	}
	return set, l, err
}

// Fit reports which writes such a sink would reject. That a tenant's document has no
// room for another key only the sink itself knows.
func Fit(cfg projector.Settings) (projector.Fit, error) {
	set, l, err := read(cfg)
	if err != nil {
		return projector.Fit{}, err
	}
	return projector.Fit{Refuses: func(w projector.Write) error {
		_, err := intend(l, set.MaxBytes, w)
		return err
	}}, nil
}

// Limits say that a call has all writes of one tenant, so that a deployment never splits
// a commit, and that the sink keeps no secrets: documents are read by many.
func (s *Store) Limits() projector.Limits { return projector.Limits{Parallel: parallel} }

// Close closes the connections.
func (s *Store) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

// Name is APPLICATION:KEY.
func (s *Store) Name(t ledger.Tenant, key ledger.Key) (string, error) {
	name, err := memberOf(s.layout, t, key)
	return s.layout.Item(t, name), err
}

// Warnings reports that old versions cannot be deleted.
func (s *Store) Warnings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.warning == "" {
		return nil
	}
	return []string{s.warning}
}

// warn sets the warning; nil clears it.
func (s *Store) warn(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.warning = ""; err != nil {
		s.warning = fmt.Sprintf("old versions of configurations cannot be deleted, and AppConfig keeps at most 100: %s", strings.TrimSpace(err.Error()))
	}
}
