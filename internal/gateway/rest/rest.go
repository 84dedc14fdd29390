// Package rest serves the gateway's services as resources over HTTP, with JSON, to
// clients without gRPC: docs/rest.md is for callers.
//
// It is stateless and makes no decisions. Every request becomes one call of the
// gateway, with the token and the tenant that the caller has sent and no other header,
// so that permissions, limits and records are the same as for all calls. bindings.yaml
// maps requests to calls.
package rest

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/stelehq/stele/internal/gateway/body"
	binding "github.com/stelehq/stele/internal/gateway/rest/internal/stele/v1"
	"github.com/stelehq/stele/internal/gateway/share"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

const (
	// callTimeout is how long a call may take.
	callTimeout = 30 * time.Second
	// maxBody of a request, in bytes: a change set of ledger.MaxChangeSet with room for
	// what surrounds it.
	maxBody = 8 << 20
)

// Config has the dependencies of the API.
type Config struct {
	// Conn is the connection to the gateway.
	Conn grpc.ClientConnInterface
	// Bodies is the memory of the bodies of requests.
	Bodies body.Memory
}

// api answers everything below /v1/.
type api struct {
	mux     *runtime.ServeMux
	paths   paths
	ledger  stelev1.LedgerClient
	config  stelev1.ConfigClient
	watches *share.Slots // that may be open
	bodies  body.Memory
}

// New makes a handler of all paths below /v1/.
func New(cfg Config) (http.Handler, error) {
	conn := named{cfg.Conn}
	a := &api{
		ledger:  stelev1.NewLedgerClient(conn),
		config:  stelev1.NewConfigClient(conn),
		watches: share.New(maxWatches),
		bodies:  cfg.Bodies,
	}
	a.mux = runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, marshaler{}),
		runtime.SetQueryParameterParser(query{}),
		runtime.WithErrorHandler(func(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
			fail(w, err)
		}),
		runtime.WithRoutingErrorHandler(func(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, _ int) {
			fail(w, errNoPath)
		}),
		runtime.WithForwardResponseOption(tag),
		runtime.WithOutgoingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithStrictDeepWildcardMatching(),
		runtime.WithWriteContentLength(),
	)
	ctx := context.Background() // the registrations do not use it
	for _, err := range []error{
		binding.RegisterConfigHandlerClient(ctx, a.mux, a.config),
		binding.RegisterLedgerHandlerClient(ctx, a.mux, a.ledger),
		binding.RegisterSchemasHandlerClient(ctx, a.mux, stelev1.NewSchemasClient(conn)),
		binding.RegisterProofHandlerClient(ctx, a.mux, stelev1.NewProofClient(conn)),
		binding.RegisterBasesHandlerClient(ctx, a.mux, stelev1.NewBasesClient(conn)),
		binding.RegisterSinksHandlerClient(ctx, a.mux, stelev1.NewSinksClient(conn)),
	} {
		if err != nil {
			return nil, fmt.Errorf("bind the REST API: %w", err)
		}
	}
	var err error
	if a.paths, err = readPaths(); err != nil {
		return nil, err
	}
	return a, nil
}

// tag sets the entity tag of an answer about one key, and answers 304 if the caller has
// the answer already.
func tag(ctx context.Context, w http.ResponseWriter, m proto.Message) error {
	switch m := m.(type) {
	case *stelev1.GetResponse:
		if len(m.CommitId) == 0 { // a sink's answer
			return nil
		}
		etag := etagOf(m.GetEntry().GetRevision(), m.CommitId)
		w.Header().Set("ETag", etag)
		if !m.Entry.Secret && matches(requestOf(ctx).have, etag) {
			w.Header().Del("Content-Type")
			w.WriteHeader(http.StatusNotModified)
		}
	case *stelev1.CommitResponse:
		w.Header().Set("Location", "/v1/commits/"+strconv.FormatUint(m.Revision, 10))
	}
	return nil
}
