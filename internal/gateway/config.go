package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/conn"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/redact"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// configService reads configuration.
type configService struct {
	stelev1.UnimplementedConfigServer
	g *Gateway
}

// Get returns one key.
func (s configService) Get(ctx context.Context, req *stelev1.GetRequest) (*stelev1.GetResponse, error) {
	key, err := ledger.ParseKey(req.Key)
	if err != nil {
		return nil, ledger.Invalid("key", err.Error())
	}
	if t := policy.CallerOf(ctx).Tenant; !s.g.serves(t) {
		entries, _, snapshot, err := s.g.fallback(ctx, req, []ledger.Key{key})
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 {
			return nil, ledger.NotFound("%s of %s is not set in %s", req.Key, t, s.g.cfg.FallbackSink)
		}
		return &stelev1.GetResponse{Entry: entries[0], Snapshot: snapshot}, nil
	}
	redact, err := s.g.redaction.For(ctx, req.Reveal)
	if err != nil {
		return nil, err
	}
	v, err := s.g.views.OpenAt(ctx, req)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	e, ok, err := v.Get(key)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ledger.NotFound("%s is not set in %s%s", key, policy.CallerOf(ctx).Tenant, v.State().Revision)
	}
	var answer struct { // one allocation for all
		response stelev1.GetResponse
		entry    stelev1.Entry
		snapshot view.Snapshot
		id       ledger.CommitID
	}
	if answer.id, err = v.ID(e.Revision); err != nil {
		return nil, err
	}
	if err := redact.Into(&answer.entry, e); err != nil {
		return nil, err
	}
	answer.response.Entry, answer.response.Snapshot, answer.response.CommitId = &answer.entry, answer.snapshot.Of(v), answer.id[:]
	return &answer.response, nil
}

// BatchGet returns many keys of one revision.
func (s configService) BatchGet(ctx context.Context, req *stelev1.BatchGetRequest) (*stelev1.BatchGetResponse, error) {
	resp := &stelev1.BatchGetResponse{}
	err := s.build(ctx, mostOf(req.Keys), func(b *building) (err error) {
		resp.Entries, resp.Missing, resp.Snapshot, err = s.g.batch(ctx, req, b)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// maxKeys is how many keys one request may ask for.
const maxKeys = 1000

// readRequest is a request for the values of keys: a *stelev1.GetRequest or a batchRequest.
type readRequest interface {
	view.Request
	GetReveal() bool
}

// batchRequest is a *stelev1.BatchGetRequest or a *stelev1.ReadRequest.
type batchRequest interface {
	readRequest
	GetKeys() []string
}

// mostOf is the size of the largest answer with the values of these keys, in bytes.
func mostOf(keys []string) int { return min(len(keys)*ledger.MaxValue, conn.MaxMessage) }

// batch reads the values, and b counts them.
func (g *Gateway) batch(ctx context.Context, req batchRequest, b *building) ([]*stelev1.Entry, []string, *stelev1.Snapshot, error) {
	names := req.GetKeys()
	if n := len(names); n == 0 || n > maxKeys {
		return nil, nil, nil, ledger.Invalid("keys", fmt.Sprintf("%d keys: ask for 1 to %d", n, maxKeys))
	}
	keys := make([]ledger.Key, len(names))
	for i, name := range names {
		var err error
		if keys[i], err = ledger.ParseKey(name); err != nil {
			return nil, nil, nil, ledger.Invalid(fmt.Sprintf("keys[%d]", i), err.Error())
		}
	}
	if !g.serves(policy.CallerOf(ctx).Tenant) {
		return g.fallback(ctx, req, keys)
	}
	redact, err := g.redaction.For(ctx, req.GetReveal())
	if err != nil {
		return nil, nil, nil, err
	}
	v, err := g.views.OpenAt(ctx, req)
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
			missing = append(missing, names[i])
			continue
		}
		if err := redact.Into(&found[i], e); err != nil {
			return nil, nil, nil, err
		}
		n := len(found[i].Value) + len(e.Key)
		if size += n; size > conn.MaxMessage {
			return nil, nil, nil, apierror.ErrManyBytes
		}
		if err := b.add(n); err != nil {
			return nil, nil, nil, err
		}
		entries = append(entries, &found[i])
	}
	return entries, missing, view.SnapshotOf(v), nil
}

// List returns the keys that a prefix selects.
func (s configService) List(ctx context.Context, req *stelev1.ListRequest) (*stelev1.ListResponse, error) {
	pattern, err := ledger.ParsePattern(req.Prefix)
	if err != nil {
		return nil, ledger.Invalid("prefix", err.Error())
	}
	redact, err := s.g.redaction.For(ctx, req.Reveal)
	if err != nil {
		return nil, err
	}
	var resp *stelev1.ListResponse
	err = s.build(ctx, view.MaxPageBytes+ledger.MaxValue, func(b *building) (err error) {
		resp, err = s.page(ctx, req, pattern, redact, b)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// page reads a page of a list, and b counts its values.
func (s configService) page(ctx context.Context, req *stelev1.ListRequest, pattern ledger.Pattern, redact redact.Redactor, b *building) (*stelev1.ListResponse, error) {
	v, from, err := s.g.views.Page(ctx, req)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	limit := int(cmp.Or(req.PageSize, view.DefaultPage))
	resp := &stelev1.ListResponse{Snapshot: view.SnapshotOf(v)}
	list := v.List
	if req.KeysOnly {
		list = v.Keys
	}
	size := 0
	for e, err := range list(pattern.Range(), from) {
		if err != nil {
			return nil, err
		}
		if !pattern.Match(e.Key) {
			continue
		}
		if len(resp.Entries) == limit || size > view.MaxPageBytes {
			resp.NextPageToken, err = view.NewPageToken(v, 0, v.State().Revision, e.Key)
			return resp, err
		}
		shown, err := redact.Entry(e)
		if err != nil {
			return nil, err
		}
		n := len(shown.Key) + len(shown.Value) // of what is shown: a page says nothing about a secret's length
		if err := b.add(n); err != nil {
			return nil, err
		}
		size += n
		resp.Entries = append(resp.Entries, shown)
	}
	return resp, nil
}

var readMethod = policy.Methods[stelev1.Config_Read_FullMethodName]

// Read answers reads in the order in which they arrive. A read that fails is answered
// with its error, and the stream continues.
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
		if err := s.answerRead(ctx, req, stream.Send); err != nil {
			return err
		}
	}
}

func (s configService) answerRead(ctx context.Context, req *stelev1.ReadRequest, send func(*stelev1.ReadResponse) error) error {
	resp := &stelev1.ReadResponse{Id: req.Id}
	c := policy.CallerOf(ctx)
	err := s.g.policy.Admit(ctx, c, readMethod, req) // it delays refusals
	// Streams are answered side by side, so the answer has memory before it is built.
	share, size := s.g.cfg.Budget.Requests, int64(0)
	defer func() { share.Release(c.Owner(), size) }()
	if err == nil {
		most := int64(mostOf(req.Keys))
		if err = share.AcquireFirst(ctx, c.Owner(), most); err == nil {
			size = most
			resp.Entries, resp.Missing, resp.Snapshot, err = s.g.batch(ctx, req, &building{reserved: true})
		}
	}
	if built := int64(proto.Size(resp)); built < size && size < share.Size() {
		share.Release(c.Owner(), size-built)
		size = built
	}
	if lost := s.g.policy.RecordRead(ctx, c, readMethod, req, resp); lost != nil {
		resp, err = &stelev1.ReadResponse{Id: req.Id}, lost
	}
	if err != nil {
		st, _ := status.FromError(apierror.StatusOf(s.g.cfg.Log, stelev1.Config_Read_FullMethodName, err))
		resp.Error = st.Proto()
	}
	return send(resp)
}
