package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stelehq/stele/gateway/flagd"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/replica"
	syncv1 "github.com/stelehq/stele/schemas/flagd/sync/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// flagService hands flags to flagd, and to providers that evaluate in process.
type flagService struct {
	syncv1.UnimplementedFlagSyncServiceServer
	g *Gateway
}

// selectorHeader says which flags are wanted, as the field selector does.
const selectorHeader = "flagd-selector"

// flagRequest is a *syncv1.SyncFlagsRequest or a *syncv1.FetchAllFlagsRequest.
type flagRequest interface{ GetSelector() string }

// flagPrefix is the prefix of the keys of the flags that are wanted.
func flagPrefix(ctx context.Context, req flagRequest) (ledger.Prefix, error) {
	selector := req.GetSelector()
	if header := metadata.ValueFromIncomingContext(ctx, selectorHeader); selector == "" && len(header) == 1 {
		selector = header[0]
	}
	p, err := flagd.Prefix(selector)
	if err != nil {
		return "", ledger.Invalid("selector", fmt.Sprintf("%v: it is the prefix of the flags' keys", err))
	}
	return p, nil
}

// FetchAllFlags returns all flags.
func (s flagService) FetchAllFlags(ctx context.Context, req *syncv1.FetchAllFlagsRequest) (*syncv1.FetchAllFlagsResponse, error) {
	prefix, err := flagPrefix(ctx, req)
	if err != nil {
		return nil, err
	}
	v, err := s.g.view(ctx, replica.At{}, 0)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	doc, err := s.document(ctx, v, prefix)
	if err != nil {
		return nil, err
	}
	if err := s.record(ctx, syncv1.FlagSyncService_FetchAllFlags_FullMethodName, v, prefix); err != nil {
		return nil, err
	}
	return &syncv1.FetchAllFlagsResponse{FlagConfiguration: doc}, nil
}

// SyncFlags sends all flags, and again whenever a commit has changed one. A caller
// that is slow gets the newest state and not each on the way there.
func (s flagService) SyncFlags(req *syncv1.SyncFlagsRequest, stream grpc.ServerStreamingServer[syncv1.SyncFlagsResponse]) error {
	ctx := stream.Context()
	if err := s.g.admit(ctx, syncv1.FlagSyncService_SyncFlags_FullMethodName, req); err != nil {
		return err
	}
	prefix, err := flagPrefix(ctx, req)
	if err != nil {
		return err
	}
	if q := s.g.quotaOf(callerOf(ctx)); q != nil {
		if err := q.watch(); err != nil {
			return err
		}
		defer q.watches.Add(-1)
	}
	var sent ledger.Revision
	for first := true; ; first = false {
		head, err := s.sync(ctx, stream, prefix, sent, first)
		if err != nil {
			return err
		}
		sent = head
		if err := s.g.cfg.Replica.Wait(ctx, callerOf(ctx).tenant, sent+1); err != nil {
			return err
		}
	}
}

// sync sends the flags at head, if a commit after the last one that was looked at has
// changed one.
func (s flagService) sync(ctx context.Context, stream grpc.ServerStreamingServer[syncv1.SyncFlagsResponse], prefix ledger.Prefix, sent ledger.Revision, first bool) (head ledger.Revision, err error) {
	v, err := s.g.view(ctx, replica.At{}, 0)
	if err != nil {
		return 0, err
	}
	defer v.Close()
	head = v.State().Head
	if first {
		if err := s.record(ctx, syncv1.FlagSyncService_SyncFlags_FullMethodName, v, prefix); err != nil {
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

// document is all flags under a prefix, but for secrets: what is shown in the place of
// one would be a flag's value.
func (s flagService) document(ctx context.Context, v *replica.View, prefix ledger.Prefix) (string, error) {
	screen, err := s.g.screen(ctx, false)
	if err != nil {
		return "", err
	}
	doc := flagd.New(prefix)
	err = v.List(prefix, "", func(e replica.Entry) bool {
		if shown := screen.hidden(e); !shown.Secret {
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
func (s flagService) record(ctx context.Context, method string, v *replica.View, prefix ledger.Prefix) error {
	return s.g.record(ctx, callerOf(ctx).tenant, method, asked{prefixes: []string{string(prefix)}}, uint64(v.State().Head))
}

// GetMetadata returns that there is none.
func (s flagService) GetMetadata(context.Context, *syncv1.GetMetadataRequest) (*syncv1.GetMetadataResponse, error) {
	return &syncv1.GetMetadataResponse{}, nil
}
