// Package dynamodb is the sink that keeps a table of DynamoDB equal to the ledger: one
// item a key, in the tenant's partition. How an item looks is the layout's.
//
// A write takes effect on the condition that the item is not of a newer revision of
// this ledger, so duplicates and late comers change nothing; a deleted key leaves a
// tombstone, or they would bring it back. No transaction is needed. Attributes that the
// layout does not name are left alone.
//
// An item has the value twice: as DynamoDB's own types, for queries and streams, and as
// the JSON text that the ledger has. The text is exact. The types are not there where
// DynamoDB cannot hold the value: it would make the item too large, is nested deeper
// than 32 levels, or has a member without a name. A number with more digits than
// DynamoDB's, or out of their range, is a string there.
package dynamodb

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
	"golang.org/x/time/rate"
)

// settings of a sink in the routes.
type settings struct {
	awssdk.Account
	// Table is a name or an ARN.
	Table  string `json:"table"`
	Layout layout `json:"layout"`
	// Create makes the table if it is missing, and turns its TTL and its
	// point-in-time recovery on.
	Create bool `json:"create"`
	// TombstoneTTL is how long after its commit a deleted key's item expires, e.g.
	// "720h"; empty for never.
	TombstoneTTL string `json:"tombstone_ttl"`
	// Streams has the sink read the table's stream, so that manual changes are found
	// before the next sweep. With Create, the sink turns the stream on.
	Streams bool `json:"streams"`
}

// minTombstone is the shortest time that tombstones stay: long after a write that they
// must hold off can come.
const minTombstone = 24 * time.Hour

// maxBackoff is the longest wait before a request is tried again, twice at most: to wait
// longer is the projector's business.
const maxBackoff = 100 * time.Millisecond

type sink struct {
	account    aws.Config
	client     *sdk.Client
	transport  *http.Transport
	table      string
	layout     layout
	tombstones time.Duration // 0: they stay
	epoch      ledger.Epoch
	log        *slog.Logger
	scans      *rate.Limiter
}

// Open opens a table, and makes it where the settings say so. A table that is not one
// for the layout is an error.
func Open(ctx context.Context, cfg projector.Settings) (projector.Sink, error) {
	set, s, err := build(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if set.Create {
		if err := s.create(ctx); err != nil {
			return nil, err
		}
	}
	if set.Create && set.Streams {
		if err := s.startStream(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if set.Streams {
		return &streamed{s, s.newStreams()}, nil
	}
	return s, nil
}

// Fit says which writes such a sink would reject.
func Fit(cfg projector.Settings) (projector.Fit, error) {
	_, s, err := read(cfg)
	if err != nil {
		return projector.Fit{}, err
	}
	return projector.Fit{Refuses: func(w projector.Write) error {
		if _, err := s.layout.primaryKey(w.Tenant, w.Key); err != nil {
			return err
		}
		_, err := s.render(w)
		return err
	}}, nil
}

// read parses the settings of a sink, without any call.
func read(cfg projector.Settings) (set settings, s *sink, err error) {
	set = settings{Table: "stele-config", Layout: presets[presetStele]}
	if err := cfg.Decode(&set); err != nil {
		return set, nil, err
	}
	if err := set.Account.Check(); err != nil {
		return set, nil, fmt.Errorf("settings of sink %s: %w", cfg.Name, err)
	}
	s = &sink{table: set.Table, layout: set.Layout, epoch: cfg.Epoch, log: cfg.Log, scans: rate.NewLimiter(scanRate, scanBurst)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if set.TombstoneTTL != "" {
		if s.tombstones, err = time.ParseDuration(set.TombstoneTTL); err != nil || s.tombstones < minTombstone {
			return set, nil, fmt.Errorf("settings of sink %s: tombstone_ttl is %q: it is a time of at least 24h, e.g. \"720h\"", cfg.Name, set.TombstoneTTL)
		}
	}
	return set, s, nil
}

func build(ctx context.Context, cfg projector.Settings) (set settings, s *sink, err error) {
	set, s, err = read(cfg)
	if err != nil {
		return set, nil, err
	}
	s.account, err = set.Account.Load(ctx, cfg)
	if err != nil {
		return set, nil, err
	}
	s.transport = awshttp.NewBuildableClient().GetTransport()
	s.transport.MaxIdleConnsPerHost = batch * parallel
	s.client = sdk.NewFromConfig(s.account, func(o *sdk.Options) {
		o.HTTPClient = awssdk.HTTPClient(s.transport)
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = maxBackoff })
	})
	return set, s, nil
}

// Close lets the connections go.
func (s *sink) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}
