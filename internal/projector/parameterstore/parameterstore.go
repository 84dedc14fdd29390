// Package parameterstore is the sink that keeps Systems Manager Parameter Store equal
// to the ledger: one parameter per key. The layout determines the name of a key's
// parameter.
//
// A value that is a string is written plainly, any other as the JSON text that the
// ledger has. A parameter's description is its mark: the ledger and the revision that
// it was written for, and which of the two its text is (package mark). A deleted key's
// parameter is deleted.
//
// Parameter Store has no compare-and-set and no tombstones. So the sink relies on being
// the only writer, and on getting only the newest value of a key from the projector.
// Before its first write to a key it reads the parameter: if mark and content are
// already right, nothing is written. The same applies to a revision that it has written
// already, and after a failed call, whose effect is unknown. A replay of the journal
// costs reads, and no versions.
package parameterstore

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
	"golang.org/x/time/rate"
)

// settings of a sink in the routes.
type settings struct {
	awssdk.Account
	naming
	// Rate is the most writes per second; 0 means 3, the default limit of an account.
	Rate float64 `json:"rate"`
	// Reads is the most read requests per second; 0 means 20, half of the 40 that
	// an account has by default for everything in it.
	Reads float64 `json:"reads"`
	// RecreateAfter is how long after a parameter was deleted one of the same name is
	// not created; empty means 30s, as AWS asks for. An endpoint that is not AWS may
	// need none: 0s.
	RecreateAfter string `json:"recreate_after"`
	// Tags are put on parameters when they are created; "{tenant}" in a value stands for
	// the tenant.
	Tags awssdk.Tags `json:"tags"`
	// Tier is "standard", "advanced" or "intelligent"; empty means "standard".
	Tier string `json:"tier"`

	recreateAfter time.Duration // RecreateAfter, parsed
}

// tiers by their names in the settings. A standard tier's value of more than 4,096
// bytes becomes advanced. With intelligent tiering AWS chooses: advanced for such
// values, and once the account has no room for more standard parameters.
var tiers = map[string]types.ParameterTier{
	"":            types.ParameterTierStandard,
	"standard":    types.ParameterTierStandard,
	"advanced":    types.ParameterTierAdvanced,
	"intelligent": types.ParameterTierIntelligentTiering,
}

const (
	defaultRate          = 3
	defaultReads         = 20
	defaultRecreateAfter = "30s"

	// maxTags is how many tags a parameter has at most.
	maxTags = 50
	// batch is the most names of a GetParameters.
	batch = 10
	// attempts of a read: a scan is long, and not worth giving up for one page.
	attempts = 6
	// callTime is about how long one call of Write takes at most, in seconds.
	callTime = 3
	// A connection makes at least this many writes per second.
	perConnection  = 25
	maxConnections = 16

	// maxStandardParameters is how many standard parameters an account has room for in
	// a region, and manyStandard from how many on the sink warns.
	// https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
	maxStandardParameters = 10_000
	manyStandard          = 9_000
)

// Store is the sink.
type Store struct {
	client        *ssm.Client
	transport     *http.Transport
	layout        layout
	epoch         ledger.Epoch
	log           *slog.Logger
	rate          float64
	recreateAfter time.Duration
	tier          types.ParameterTier
	tags          awssdk.Tags
	perTenant     bool // each tenant has credentials of its own
	reads, writes *rate.Limiter

	mu sync.Mutex // guards the maps, whose keys are names
	// known is the state of the parameters that this process has written to. A
	// parameter that is not in it is read before it is written.
	known map[string]known
	// deleted is when this process asked for a parameter's deletion. Those after which it may be
	// created again were last removed at pruned.
	deleted map[string]time.Time
	pruned  time.Time
	// standard counts the standard parameters of each tenant, as of its last scan.
	standard map[ledger.Tenant]int
}

// Open prepares the calls to AWS; it makes none.
func Open(ctx context.Context, cfg projector.Settings) (projector.Sink, error) {
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// longestRegion stands for a region that only the environment of the projector knows:
// what fits there fits everywhere.
const longestRegion = "ap-southeast-1"

// Fit says which writes such a sink would reject.
func Fit(cfg projector.Settings) (projector.Fit, error) {
	set, err := read(cfg)
	if err != nil {
		return projector.Fit{}, err
	}
	layout, err := newLayout(set.naming, cmp.Or(set.Region, longestRegion))
	if err != nil {
		return projector.Fit{}, fmt.Errorf("settings of sink %s: %w", cfg.Name, err)
	}
	s := &Store{layout: layout, epoch: cfg.Epoch}
	fit := projector.Fit{Secrets: true, Refuses: func(w projector.Write) error {
		_, err := s.intend(w)
		return err
	}}
	if layout.flat {
		fit.InTheWay = func(key, other ledger.Key) error { return nested(string(key), string(other)) }
	}
	return fit, nil
}

// read returns the settings with their defaults.
func read(cfg projector.Settings) (set settings, err error) {
	if err := cfg.Decode(&set); err != nil {
		return set, err
	}
	set.recreateAfter, err = time.ParseDuration(cmp.Or(set.RecreateAfter, defaultRecreateAfter))
	_, known := tiers[set.Tier]
	switch {
	case err != nil || set.recreateAfter < 0:
		err = fmt.Errorf("recreate_after is %q: it is a time, e.g. \"30s\"", set.RecreateAfter)
	case set.Rate < 0 || set.Reads < 0:
		err = fmt.Errorf("rate is %v and reads %v: they are requests per second", set.Rate, set.Reads)
	case !known:
		err = fmt.Errorf("tier is %q: use standard, advanced or intelligent", set.Tier)
	default:
		err = cmp.Or(set.Account.Check(), set.Tags.Check(maxTags))
	}
	if err != nil {
		err = fmt.Errorf("settings of sink %s: %w", cfg.Name, err)
	}
	return set, err
}

func open(ctx context.Context, cfg projector.Settings) (*Store, error) {
	set, err := read(cfg)
	if err != nil {
		return nil, err
	}
	account, err := set.Account.Load(ctx, cfg)
	if err != nil {
		return nil, err
	}
	layout, err := newLayout(set.naming, account.Region)
	if err != nil {
		return nil, fmt.Errorf("settings of sink %s: %w", cfg.Name, err)
	}
	s := &Store{
		layout:        layout,
		epoch:         cfg.Epoch,
		log:           cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)),
		rate:          cmp.Or(set.Rate, defaultRate),
		recreateAfter: set.recreateAfter,
		tier:          tiers[set.Tier],
		tags:          set.Tags,
		perTenant:     set.PerTenant(),
		standard:      make(map[ledger.Tenant]int),
		transport:     awshttp.NewBuildableClient().GetTransport(),
		known:         make(map[string]known),
		deleted:       make(map[string]time.Time),
	}
	s.writes = awssdk.Limiter(s.rate)
	s.reads = awssdk.Limiter(cmp.Or(set.Reads, defaultReads))
	s.transport.MaxIdleConnsPerHost = maxConnections
	s.client = ssm.NewFromConfig(account, func(o *ssm.Options) {
		o.HTTPClient = awssdk.HTTPClient(s.transport)
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = attempts, time.Second })
	})
	return s, nil
}

// Limits leave a call no more than about three seconds of writes; the sink waits by
// itself until it may write.
func (s *Store) Limits() projector.Limits {
	l := projector.Limits{
		Batch:    min(batch, max(1, int(callTime*s.rate))),
		Parallel: min(maxConnections, 1+int(s.rate)/perConnection),
		Secrets:  true, // a SecureString
	}
	if s.layout.flat { // or two calls could create parameters that are in each other's way
		l.Parallel = 1
	}
	return l
}

// Warnings reports that the account will soon have no room.
func (s *Store) Warnings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, of := range s.standard {
		n += of
	}
	if n < manyStandard {
		return nil
	}
	return []string{fmt.Sprintf("it has %d standard parameters, and the account has room for %d in a region, those of other programs included: set \"tier\" to intelligent or advanced, which costs money for each parameter", n, maxStandardParameters)}
}

// Close lets the connections go.
func (s *Store) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

// Name is the parameter's.
func (s *Store) Name(t ledger.Tenant, key ledger.Key) (string, error) { return s.layout.name(t, key) }
