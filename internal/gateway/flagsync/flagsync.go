// Package flagsync serves settings as feature flags over flagd's sync protocol.
package flagsync

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/conn"
	"github.com/stelehq/stele/internal/gateway/flagd"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/redact"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	syncv1 "github.com/stelehq/stele/schemas/flagd/sync/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// service hands flags to flagd, and to providers that evaluate in process.
type service struct {
	syncv1.UnimplementedFlagSyncServiceServer
	cfg Config
}

// Config is what the service reads from.
type Config struct {
	Replica   *replica.Replica
	Policy    *policy.Enforcer
	Views     view.Opener
	Redaction redact.Source
}

// New makes the service.
func New(cfg Config) syncv1.FlagSyncServiceServer { return service{cfg: cfg} }

// selectorHeader says which flags are wanted, as the field selector does.
const selectorHeader = "flagd-selector"

var (
	syncMethod  = policy.Methods[syncv1.FlagSyncService_SyncFlags_FullMethodName]
	fetchMethod = policy.Methods[syncv1.FlagSyncService_FetchAllFlags_FullMethodName]
)

// admit admits a request whose selector is in a field or in a header, and returns the
// prefix of the keys of the flags that it selects.
func (s service) admit(ctx context.Context, m *policy.Method, req proto.Message, selector *string) (ledger.Prefix, error) {
	if header := metadata.ValueFromIncomingContext(ctx, selectorHeader); *selector == "" && len(header) == 1 {
		*selector = header[0]
	}
	prefix, err := flagd.Prefix(*selector)
	if err != nil {
		return "", ledger.Invalid("selector", fmt.Sprintf("%v: it is the prefix of the flags' keys", err))
	}
	return prefix, s.cfg.Policy.Admit(ctx, policy.CallerOf(ctx), m, req)
}

// FetchAllFlags returns all flags.
func (s service) FetchAllFlags(ctx context.Context, req *syncv1.FetchAllFlagsRequest) (*syncv1.FetchAllFlagsResponse, error) {
	prefix, err := s.admit(ctx, fetchMethod, req, &req.Selector)
	if err != nil {
		return nil, err
	}
	v, err := s.cfg.Views.Open(ctx, replica.At{}, view.Seen{})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	doc, err := s.document(ctx, v, prefix)
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, fetchMethod, v, prefix); err != nil {
		return nil, err
	}
	return &syncv1.FetchAllFlagsResponse{FlagConfiguration: doc}, nil
}

// SyncFlags sends all flags, and again whenever a commit has changed one. A caller
// that is slow gets the newest state and not each on the way there.
func (s service) SyncFlags(req *syncv1.SyncFlagsRequest, stream grpc.ServerStreamingServer[syncv1.SyncFlagsResponse]) error {
	ctx := stream.Context()
	prefix, err := s.admit(ctx, syncMethod, req, &req.Selector)
	if err != nil {
		return err
	}
	c := policy.CallerOf(ctx)
	if q := s.cfg.Policy.QuotaOf(c); q != nil {
		if err := q.Watch(c.Subject); err != nil {
			return err
		}
		defer q.Unwatch(c.Subject)
	}
	var sent ledger.Revision
	for first := true; ; first = false {
		head, err := s.sync(ctx, stream, prefix, sent, first)
		if err != nil {
			return err
		}
		sent = head
		if err := s.cfg.Replica.Wait(ctx, c.Tenant, sent+1); err != nil {
			return err
		}
	}
}

// sync sends the flags at head, if a commit after the last one that was looked at has
// changed one.
func (s service) sync(ctx context.Context, stream grpc.ServerStreamingServer[syncv1.SyncFlagsResponse], prefix ledger.Prefix, sent ledger.Revision, first bool) (head ledger.Revision, err error) {
	v, err := s.cfg.Views.Open(ctx, replica.At{}, view.Seen{})
	if err != nil {
		return 0, err
	}
	defer v.Close()
	head = v.State().Head
	if first {
		if err := s.record(ctx, syncMethod, v, prefix); err != nil {
			return 0, err
		}
	} else if changed, err := touched(v, sent, prefix); err != nil || !changed {
		return head, err
	}
	doc, err := s.document(ctx, v, prefix)
	if err != nil {
		return 0, err
	}
	return head, stream.Send(&syncv1.SyncFlagsResponse{FlagConfiguration: doc})
}

// touched reports whether a commit after a revision changed a key under a prefix.
func touched(v *replica.View, after ledger.Revision, prefix ledger.Prefix) (bool, error) {
	for r := after + 1; r <= v.State().Head; r++ {
		c, err := v.Commit(r)
		if err == nil {
			c, err = v.EffectiveCommit(c)
		}
		if notKept := (*ledger.HistoryError)(nil); errors.As(err, &notKept) {
			return true, nil // it may have
		}
		if err != nil {
			return false, err
		}
		for _, ch := range c.Changes {
			if prefix.Match(ch.Key) {
				return true, nil
			}
		}
	}
	return false, nil
}

// document is all flags under a prefix, except secrets, whose mask would become a
// flag's value.
func (s service) document(ctx context.Context, v *replica.View, prefix ledger.Prefix) (string, error) {
	redact, err := s.cfg.Redaction.For(ctx, false)
	if err != nil {
		return "", err
	}
	doc := flagd.New(prefix)
	for e, err := range v.List(prefix, "") {
		if err != nil {
			return "", err
		}
		if shown := redact.Hidden(e); !shown.Secret {
			doc.Add(shown.Key, shown.Value)
		}
		if doc.Len() > conn.MaxMessage {
			return "", fmt.Errorf("%w: the flags under %s have more than %d bytes: select fewer", apierror.ErrTooLarge, strings.TrimSuffix(string(prefix), "/"), conn.MaxMessage)
		}
	}
	return doc.String(), nil
}

// record records that the flags are read, where that must be.
func (s service) record(ctx context.Context, m *policy.Method, v *replica.View, prefix ledger.Prefix) error {
	return s.cfg.Policy.Record(ctx, policy.CallerOf(ctx), m, policy.CallerOf(ctx).Tenant, policy.Asked{Prefixes: []string{string(prefix)}}, uint64(v.State().Head))
}

// GetMetadata returns no metadata.
func (s service) GetMetadata(context.Context, *syncv1.GetMetadataRequest) (*syncv1.GetMetadataResponse, error) {
	return &syncv1.GetMetadataResponse{}, nil
}
