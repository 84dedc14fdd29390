package bridge

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// drifts is the part of a gateway that compares sinks with the ledger.
type drifts struct {
	stelev1.UnimplementedSinksServer
	token string
	asked []*stelev1.CheckDriftRequest
	err   error
}

func (d *drifts) CheckDrift(ctx context.Context, req *stelev1.CheckDriftRequest) (*stelev1.CheckDriftResponse, error) {
	if header := metadata.ValueFromIncomingContext(ctx, "authorization"); len(header) != 1 || header[0] != "Bearer "+d.token {
		return nil, status.Error(codes.Unauthenticated, "no token")
	}
	d.asked = append(d.asked, req)
	if d.err != nil {
		return nil, d.err
	}
	return &stelev1.CheckDriftResponse{Compared: 1, Drift: []*stelev1.Drift{{
		Tenant: "acme", Key: "paramconfig/db/pool", Name: req.Name, Kind: stelev1.Drift_KIND_EDITED, Action: stelev1.Drift_ACTION_REPAIRED,
	}}}, nil
}

func TestDrift_ChangedParametersAreCompared(t *testing.T) {
	gateway := &drifts{token: "operators"}
	listener := listen(t, "127.0.0.1:0")
	serveGRPC(t, listener, func(s *grpc.Server) { stelev1.RegisterSinksServer(s, gateway) })
	env := map[string]string{addressVariable: listener.Addr().String(), tokenVariable: "operators", sinkVariable: "params"}
	b := newBridge(t, env)
	var log bytes.Buffer
	b.log = slog.New(slog.NewTextHandler(&log, nil))

	if err := b.Handle(t.Context(), event(t, "parameter-store-change")); err != nil {
		t.Fatal(err)
	}
	if len(gateway.asked) != 1 || gateway.asked[0].Sink != "params" || gateway.asked[0].Name != "/stele/acme/paramconfig/db/pool" {
		t.Fatalf("the gateway was asked %v", gateway.asked)
	}
	for _, want := range []string{"/stele/acme/paramconfig/db/pool", "KIND_EDITED", "ACTION_REPAIRED"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log says nothing about %q: %s", want, &log)
		}
	}

	if err := b.Handle(t.Context(), event(t, "parameter-store-change", `"Update"`, `"LabelParameterVersion"`)); err != nil || len(gateway.asked) != 1 {
		t.Errorf("a label has the gateway compare: %v, %v", gateway.asked, err)
	}
	if err := b.Handle(t.Context(), event(t, "parameter-store-change", `"name"`, `"names"`)); err == nil || !strings.Contains(err.Error(), "no name") {
		t.Errorf("a change without a name: %v", err)
	}

	gateway.err = status.Error(codes.Unavailable, "no process writes to the sink")
	if err := b.Handle(t.Context(), event(t, "parameter-store-change")); err == nil || !strings.Contains(err.Error(), "no process writes to the sink") {
		t.Errorf("a gateway that cannot: %v", err)
	}
	env[tokenVariable] = "nobodys"
	if err := newBridge(t, env).Handle(t.Context(), event(t, "parameter-store-change")); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a bad token: %v", err)
	}
	if err := newBridge(t, targets(t, nil)).Handle(t.Context(), event(t, "parameter-store-change")); err == nil || !strings.Contains(err.Error(), addressVariable) {
		t.Errorf("no gateway: %v", err)
	}
}
