package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stelehq/stele/gateway/flagd"
	"github.com/stelehq/stele/gateway/policy"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/replica"
	syncv1 "github.com/stelehq/stele/schemas/flagd/sync/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// flagService hands flags to flagd, and to providers that evaluate in process.
type flagService struct {
	syncv1.UnimplementedFlagSyncServiceServer
	g *Gateway
}

// selectorHeader says which flags are wanted, as the field selector does.
const selectorHeader = "flagd-selector"

var (
	syncMethod  = policy.Methods[syncv1.FlagSyncService_SyncFlags_FullMethodName]
	fetchMethod = policy.Methods[syncv1.FlagSyncService_FetchAllFlags_FullMethodName]
)

// admit admits a request whose selector is in a field or in a header, and returns the
// prefix of the keys of the flags that it selects.
func (s flagService) admit(ctx context.Context, m *policy.Method, req proto.Message, selector *string) (ledger.Prefix, error) {
	if header := metadata.ValueFromIncomingContext(ctx, selectorHeader); *selector == "" && len(header) == 1 {
		*selector = header[0]
	}
	prefix, err := flagd.Prefix(*selector)
	if err != nil {
		return "", ledger.Invalid("selector", fmt.Sprintf("%v: it is the prefix of the flags' keys", err))
	}
	return prefix, s.g.policy.Admit(ctx, callerOf(ctx), m, req)
}

// FetchAllFlags returns all flags.
func (s flagService) FetchAllFlags(ctx context.Context, req *syncv1.FetchAllFlagsRequest) (*syncv1.FetchAllFlagsResponse, error) {
	prefix, err := s.admit(ctx, fetchMethod, req, &req.Selector)
	if err != nil {
		return nil, err
	}
	v, err := s.g.view(ctx, replica.At{}, seen{})
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
func (s flagService) SyncFlags(req *syncv1.SyncFlagsRequest, stream grpc.ServerStreamingServer[syncv1.SyncFlagsResponse]) error {
	ctx := stream.Context()
	prefix, err := s.admit(ctx, syncMethod, req, &req.Selector)
	if err != nil {
		return err
	}
	if q := s.g.policy.QuotaOf(callerOf(ctx)); q != nil {
		if err := q.Watch(); err != nil {
			return err
		}
		defer q.Unwatch()
	}
	var sent ledger.Revision
	for first := true; ; first = false {
		head, err := s.sync(ctx, stream, prefix, sent, first)
		if err != nil {
			return err
		}
		sent = head
		if err := s.g.cfg.Replica.Wait(ctx, callerOf(ctx).Tenant, sent+1); err != nil {
			return err
		}
	}
}

// sync sends the flags at head, if a commit after the last one that was looked at has
// changed one.
func (s flagService) sync(ctx context.Context, stream grpc.ServerStreamingServer[syncv1.SyncFlagsResponse], prefix ledger.Prefix, sent ledger.Revision, first bool) (head ledger.Revision, err error) {
	v, err := s.g.view(ctx, replica.At{}, seen{})
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

// touched says whether a commit after a revision changed a key under a prefix.
func touched(v *replica.View, after ledger.Revision, prefix ledger.Prefix) (bool, error) {
	for r := after + 1; r <= v.State().Head; r++ {
		c, err := v.Commit(r)
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
func (s flagService) document(ctx context.Context, v *replica.View, prefix ledger.Prefix) (string, error) {
	redact, err := s.g.redactor(ctx, false)
	if err != nil {
		return "", err
	}
	doc := flagd.New(prefix)
	err = v.List(prefix, "", func(e replica.Entry) bool {
		if shown := redact.hidden(e); !shown.Secret {
			doc.Add(shown.Key, shown.Value)
		}
		return doc.Len() <= MaxMessage
	})
	if err == nil && doc.Len() > MaxMessage {
		err = fmt.Errorf("%w: the flags under %s have more than %d bytes: select fewer", errTooLarge, strings.TrimSuffix(string(prefix), "/"), MaxMessage)
	}
	return doc.String(), err
}

// record records that the flags are read, where that must be.
func (s flagService) record(ctx context.Context, m *policy.Method, v *replica.View, prefix ledger.Prefix) error {
	return s.g.policy.Record(ctx, callerOf(ctx), m, callerOf(ctx).Tenant, policy.Asked{Prefixes: []string{string(prefix)}}, uint64(v.State().Head))
}

// GetMetadata returns no metadata.
func (s flagService) GetMetadata(context.Context, *syncv1.GetMetadataRequest) (*syncv1.GetMetadataResponse, error) {
	return &syncv1.GetMetadataResponse{}, nil
}
