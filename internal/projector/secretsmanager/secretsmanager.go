// Package secretsmanager is the sink that keeps AWS Secrets Manager equal to the ledger:
// one secret per key, PREFIX/TENANT/KEY.
//
// A secret's current version (AWSCURRENT) has the value: a string as it is, anything else
// as JSON. The version's ID says which ledger and revision it was written for (version.go),
// so value and revision are always read together. A version that another program makes
// current, as a rotation does, has another ID: it is drift, and the key's route says
// whether it is adopted or replaced.
//
// A write is conditional. It makes a version with the label "stele", and then moves
// AWSCURRENT from the version that it has seen to that one; AWSPREVIOUS follows. If
// another version has become current meanwhile, nothing changes, and the write is tried
// again.
//
// A deleted key's secret is scheduled for deletion. It can be restored for some days, and
// is when the key is set again.
package secretsmanager

import (
	"cmp"
	"context"
	"fmt"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	sdk "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
	"github.com/stelehq/stele/internal/projector/internal/items"
	"github.com/stelehq/stele/internal/projector/internal/naming"
	"golang.org/x/time/rate"
)

// settings of a sink in the routes.
type settings struct {
	awssdk.Account
	naming.Settings
	// RecoveryDays is how long the secret of a deleted key can be restored, from 7 to
	// 30; 0 means 30.
	RecoveryDays int `json:"recovery_days,omitzero"`
	// Rate is the most secrets a second that are written; 0 means 10. Reads is the most
	// that a sweep reads; 0 means 50.
	Rate  float64 `json:"rate,omitzero"`
	Reads float64 `json:"reads,omitzero"`
	// Tags are put on secrets when they are created; "{tenant}" in a value stands for
	// the tenant.
	Tags awssdk.Tags `json:"tags,omitzero"`
}

// Of requests and secrets:
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
const (
	defaultRate  = 10
	defaultReads = 50
	parallel     = 8
	maxTags      = 50
	minRecovery  = 7
	maxRecovery  = 30
)

// Store is the sink.
type Store struct {
	client        *sdk.Client
	transport     *http.Transport
	layout        naming.Layout
	recovery      int64
	tags          awssdk.Tags
	epoch         ledger.Epoch
	writes, reads *rate.Limiter
	cache         items.Cache
}

// Open requires what is needed to call Secrets Manager, and calls nothing.
func Open(ctx context.Context, cfg projector.Settings) (projector.Sink, error) {
	set, layout, err := read(cfg)
	if err != nil {
		return nil, err
	}
	account, err := set.Account.Load(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{
		layout: layout, recovery: int64(cmp.Or(set.RecoveryDays, maxRecovery)), tags: set.Tags, epoch: cfg.Epoch,
		transport: awshttp.NewBuildableClient().GetTransport(), writes: awssdk.Limiter(cmp.Or(set.Rate, defaultRate)), reads: awssdk.Limiter(cmp.Or(set.Reads, defaultReads)),
	}
	s.transport.MaxIdleConnsPerHost = parallel
	s.client = sdk.NewFromConfig(account, func(o *sdk.Options) {
		o.HTTPClient = awssdk.HTTPClient(s.transport)
		o.Retryer = awssdk.Retryer()
	})
	return s, nil
}

func read(cfg projector.Settings) (set settings, l naming.Layout, err error) {
	if err := cfg.Decode(&set); err != nil {
		return set, l, err
	}
	switch l, err = naming.New(set.Settings); {
	case err != nil:
	case set.RecoveryDays != 0 && (set.RecoveryDays < minRecovery || set.RecoveryDays > maxRecovery):
		err = fmt.Errorf("recovery_days is %d: AWS allows %d to %d", set.RecoveryDays, minRecovery, maxRecovery)
	case set.Rate < 0 || set.Reads < 0:
		err = fmt.Errorf("rate is %v and reads %v: they are secrets a second", set.Rate, set.Reads)
	default:
		err = cmp.Or(set.Account.Check(), set.Tags.Check(maxTags))
	}
	if err != nil {
		err = fmt.Errorf("settings of sink %s: %w", cfg.Name, err)
	}
	return set, l, err
}

// Fit reports which writes such a sink would reject.
func Fit(cfg projector.Settings) (projector.Fit, error) {
	_, layout, err := read(cfg)
	if err != nil {
		return projector.Fit{}, err
	}
	return projector.Fit{Secrets: true, Refuses: func(w projector.Write) error {
		_, err := intend(layout, cfg.Epoch, w)
		return err
	}}, nil
}

// Limits let each write be a call of its own, so that a tenant's credentials are its own.
func (s *Store) Limits() projector.Limits {
	return projector.Limits{Batch: 1, Parallel: parallel, Secrets: true}
}

// Close closes the connections.
func (s *Store) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

// Name is the secret's.
func (s *Store) Name(t ledger.Tenant, key ledger.Key) (string, error) {
	return nameOf(s.layout, t, key)
}
