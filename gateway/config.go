package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/replica"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// configService reads configuration.
type configService struct {
	stelev1.UnimplementedConfigServer
	g *Gateway
}

func entryOf(e replica.Entry) *stelev1.Entry {
	return &stelev1.Entry{Key: e.Key, Value: e.Value, Revision: uint64(e.Revision)}
}

// Get returns one key.
func (s configService) Get(ctx context.Context, req *stelev1.GetRequest) (*stelev1.GetResponse, error) {
	if _, err := ledger.ParseKey(req.Key); err != nil {
		return nil, ledger.Invalid("key", err.Error())
	}
	if t := callerOf(ctx).tenant; !s.g.serves(t) {
		entries, _, snapshot, err := s.g.fallback(ctx, []string{req.Key}, req.At, req.MinRevision)
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 {
			return nil, ledger.NotFound("%s of %s is not set in %s", req.Key, t, s.g.cfg.FallbackSink)
		}
		return &stelev1.GetResponse{Entry: entries[0], Snapshot: snapshot}, nil
	}
	at, err := moment(req.At)
	if err != nil {
		return nil, err
	}
	v, err := s.g.view(ctx, at, req.MinRevision)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	e, ok, err := v.Get(req.Key)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ledger.NotFound("%s is not set in %s%s", req.Key, callerOf(ctx).tenant, v.State().Revision)
	}
	return &stelev1.GetResponse{Entry: entryOf(e), Snapshot: snapshotOf(v)}, nil
}

// BatchGet returns many keys of one revision.
func (s configService) BatchGet(ctx context.Context, req *stelev1.BatchGetRequest) (*stelev1.BatchGetResponse, error) {
	entries, missing, snapshot, err := s.g.batch(ctx, req.Keys, req.At, req.MinRevision)
	if err != nil {
		return nil, err
	}
	return &stelev1.BatchGetResponse{Entries: entries, Missing: missing, Snapshot: snapshot}, nil
}

var errManyBytes = ledger.Invalid("keys", fmt.Sprintf("the values have more than %d bytes together: ask for fewer keys at a time", MaxMessage))

// maxKeys is how many keys one request may ask for.
const maxKeys = 1000

func (g *Gateway) batch(ctx context.Context, keys []string, point *stelev1.At, atLeast uint64) ([]*stelev1.Entry, []string, *stelev1.Snapshot, error) {
	if n := len(keys); n == 0 || n > maxKeys {
		return nil, nil, nil, ledger.Invalid("keys", fmt.Sprintf("%d keys: ask for 1 to %d", n, maxKeys))
	}
	for i, k := range keys {
		if _, err := ledger.ParseKey(k); err != nil {
			return nil, nil, nil, ledger.Invalid(fmt.Sprintf("keys[%d]", i), err.Error())
		}
	}
	if !g.serves(callerOf(ctx).tenant) {
		return g.fallback(ctx, keys, point, atLeast)
	}
	at, err := moment(point)
	if err != nil {
		return nil, nil, nil, err
	}
	v, err := g.view(ctx, at, atLeast)
	if err != nil {
		return nil, nil, nil, err
	}
	defer v.Close()
	found := make([]stelev1.Entry, len(keys)) // one allocation for all
	entries := make([]*stelev1.Entry, 0, len(keys))
	var missing []string
	size := 0
	for i, k := range keys {
		e, ok, err := v.Get(k)
		switch {
		case err != nil:
			return nil, nil, nil, err
		case !ok:
			missing = append(missing, k)
			continue
		}
		if size += len(e.Value) + len(e.Key); size > MaxMessage {
			return nil, nil, nil, errManyBytes
		}
		found[i].Key, found[i].Value, found[i].Revision = e.Key, e.Value, uint64(e.Revision)
		entries = append(entries, &found[i])
	}
	return entries, missing, snapshotOf(v), nil
}

const (
	defaultPage  = 1000
	maxPageBytes = 1 << 20
)

// List returns the keys under a prefix.
func (s configService) List(ctx context.Context, req *stelev1.ListRequest) (*stelev1.ListResponse, error) {
	prefix, err := ledger.ParsePrefix(req.Prefix)
	if err != nil {
		return nil, ledger.Invalid("prefix", err.Error())
	}
	v, from, err := s.g.page(ctx, req.At, req.PageToken, req.MinRevision)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	limit := int(cmp.Or(req.PageSize, defaultPage))
	resp := &stelev1.ListResponse{Snapshot: snapshotOf(v)}
	list := v.List
	if req.KeysOnly {
		list = v.Keys
	}
	size := 0
	err = list(prefix, from, func(e replica.Entry) bool {
		if len(resp.Entries) == limit || size > maxPageBytes {
			resp.NextPageToken = pageToken{revision: v.State().Revision, key: e.Key}.String()
			return false
		}
		size += len(e.Key) + len(e.Value)
		resp.Entries = append(resp.Entries, entryOf(e))
		return true
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// Read answers reads in the order in which they come in. A read that fails is
// answered with its error, and the stream goes on.
func (s configService) Read(stream grpc.BidiStreamingServer[stelev1.ReadRequest, stelev1.ReadResponse]) error {
	ctx := stream.Context()
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		resp := &stelev1.ReadResponse{Id: req.Id}
		if err = s.g.permit(ctx, stelev1.Config_Read_FullMethodName, req); err == nil {
			resp.Entries, resp.Missing, resp.Snapshot, err = s.g.batch(ctx, req.Keys, req.At, req.MinRevision)
		}
		if lost := s.g.recordRead(ctx, stelev1.Config_Read_FullMethodName, req, resp); lost != nil {
			resp, err = &stelev1.ReadResponse{Id: req.Id}, lost
		}
		if err != nil {
			st, _ := status.FromError(statusOf(s.g.cfg.Log, stelev1.Config_Read_FullMethodName, err))
			resp.Error = st.Proto()
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}
