// Package s3 is the sink that keeps a bucket of S3 equal to the ledger: one object per
// key, PREFIX/TENANT/KEY, or one document per tenant (package document).
//
// The body of a key's object is the value: a string as it is, anything else as JSON. Its metadata
// has a mark: the ledger, the revision that it was written for, and how to read the body
// (package mark). The object of a deleted key is deleted; a versioned bucket keeps what
// it was.
//
// Every write is conditional: it looks at the object, and replaces or deletes it only if
// it is still the one that was seen. An object that carries a newer revision stays. A
// request that arrives late, or of a process that has lost the sink, therefore changes
// nothing, except that it creates an object again that was deleted meanwhile; the next
// sweep finds that one. Documents are written in the same way.
package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
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
	Bucket string `json:"bucket"`
	naming.Settings
	// Document is the name of a tenant's object, if it has one object with all keys;
	// "{tenant}" in it stands for the tenant. Empty means an object per key.
	Document string `json:"document,omitzero"`
	// MaxBytes is the largest document; 0 means 32 MiB, which is also the most.
	MaxBytes int `json:"max_bytes,omitzero"`
	// Tags are put on every object; "{tenant}" in a value stands for the tenant.
	Tags awssdk.Tags `json:"tags,omitzero"`
	// Reads is the most objects a second that a sweep reads; 0 means 200.
	Reads float64 `json:"reads,omitzero"`
}

const (
	defaultReads = 200
	// A call writes its objects one after the other, and several calls run at once:
	// 16 at 50 ms per object are 320 per second. S3 accepts 3,500 per second and prefix.
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
	batch    = 8
	parallel = 16
	// maxTags is how many tags an object has at most.
	maxTags = 10
)

// Store is the sink with an object per key.
type Store struct {
	service
	layout naming.Layout
	cache  items.Cache
}

// service is the bucket.
type service struct {
	client    *s3.Client
	transport *http.Transport
	bucket    string
	tags      awssdk.Tags
	epoch     ledger.Epoch
	log       *slog.Logger
	reads     *rate.Limiter

	mu      sync.Mutex // guards the fields below
	checked time.Time  // when the bucket's versioning was last looked at
	warning string
}

// Open requires what is needed to call S3, and calls nothing.
func Open(ctx context.Context, cfg projector.Settings) (projector.Sink, error) {
	set, layout, err := read(cfg)
	if err != nil {
		return nil, err
	}
	account, err := set.Account.Load(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if set.Document != "" {
		d := &documents{maxBytes: set.maxBytes()}
		if d.place, err = set.place(); err != nil {
			return nil, err
		}
		d.connect(account, set, cfg)
		return d, nil
	}
	s := &Store{layout: layout}
	s.connect(account, set, cfg)
	return s, nil
}

// connect calls nothing.
func (s *service) connect(account aws.Config, set settings, cfg projector.Settings) {
	s.bucket, s.tags, s.epoch, s.log = set.Bucket, set.Tags, cfg.Epoch, cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	s.transport, s.reads = awshttp.NewBuildableClient().GetTransport(), awssdk.Limiter(cmp.Or(set.Reads, defaultReads))
	s.transport.MaxIdleConnsPerHost = parallel
	s.client = s3.NewFromConfig(account, func(o *s3.Options) {
		o.HTTPClient = awssdk.HTTPClient(s.transport)
		o.UsePathStyle = set.Endpoint != "" // other servers seldom have a host name per bucket
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.Retryer = awssdk.Retryer()
	})
}

func read(cfg projector.Settings) (set settings, l naming.Layout, err error) {
	if err := cfg.Decode(&set); err != nil {
		return set, l, err
	}
	switch l, err = naming.New(set.Settings); {
	case err != nil:
	case set.Bucket == "" || strings.Contains(set.Bucket, "/"):
		err = fmt.Errorf("bucket is %q: set the bucket's name or ARN of an access point", set.Bucket)
	case set.Reads < 0:
		err = fmt.Errorf("reads is %v: it is objects a second", set.Reads)
	case set.MaxBytes < 0 || set.MaxBytes > maxDocument:
		err = fmt.Errorf("max_bytes is %d: it is a number of bytes up to %d", set.MaxBytes, maxDocument)
	case set.Document == "" && set.MaxBytes != 0:
		err = fmt.Errorf("max_bytes is for documents: also set \"document\"")
	case set.Document != "" && set.Prefix != "":
		err = fmt.Errorf("document and prefix are both set: the name of a document has no prefix")
	default:
		_, wrong := set.place()
		err = cmp.Or(wrong, set.Account.Check(), set.Tags.Check(maxTags))
	}
	if err != nil {
		err = fmt.Errorf("settings of sink %s: %w", cfg.Name, err)
	}
	return set, l, err
}

// Fit reports which writes such a sink would reject.
func Fit(cfg projector.Settings) (projector.Fit, error) {
	set, layout, err := read(cfg)
	if err != nil {
		return projector.Fit{}, err
	}
	if set.Document != "" {
		place, err := set.place()
		return projector.Fit{Refuses: func(w projector.Write) error {
			_, err := memberOf(place, set.maxBytes(), w)
			return err
		}}, err
	}
	return projector.Fit{Refuses: func(w projector.Write) error {
		_, err := intend(layout, cfg.Epoch, w)
		return err
	}}, nil
}

// Limits say that the sink keeps no secrets: buckets are read by many.
func (s *Store) Limits() projector.Limits { return projector.Limits{Batch: batch, Parallel: parallel} }

// Close closes the connections.
func (s *service) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

// Name is the object's key in the bucket.
func (s *Store) Name(t ledger.Tenant, key ledger.Key) (string, error) {
	return nameOf(s.layout, t, key)
}

// recheck is how often the bucket's versioning is looked at.
const recheck = 10 * time.Minute

// checkVersioning finds out whether the bucket keeps old versions. Whether a policy
// denies that makes no difference to writes.
func (s *service) checkVersioning(ctx context.Context) {
	s.mu.Lock()
	due := time.Since(s.checked) >= recheck
	if due {
		s.checked = time.Now()
	}
	s.mu.Unlock()
	if !due {
		return
	}
	out, err := s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &s.bucket})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case awssdk.Denied(err):
		s.warning = fmt.Sprintf("it is not allowed to call s3:GetBucketVersioning on %s, so it cannot find out whether the bucket keeps old versions", s.bucket)
	case errors.Is(err, context.Canceled):
		s.checked = time.Time{}
	case err != nil: // a write will say why
	case out.Status != "Enabled":
		s.warning = fmt.Sprintf("the bucket %s keeps no old versions: enable versioning, so that what others overwrite or delete can be restored", s.bucket)
	default:
		s.warning = ""
	}
}

// Warnings reports a bucket that keeps no old versions.
func (s *service) Warnings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.warning == "" {
		return nil
	}
	return []string{s.warning}
}
