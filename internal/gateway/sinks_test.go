package gateway_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/directory"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const oneSink = `{"sinks":{"files":{"kind":"directory"}},"routes":[{"prefix":"a/","sinks":["files"]}]}`

// sinkCalls are all methods of the Sinks service.
func (f *fixture) sinkCalls(sink string) map[string]func(context.Context) error {
	c := stelev1.NewSinksClient(f.conn)
	failed := func(_ any, err error) error { return err }
	return map[string]func(context.Context) error{
		"ListSinks": func(ctx context.Context) error { return failed(c.ListSinks(ctx, &stelev1.ListSinksRequest{})) },
		"ListParked": func(ctx context.Context) error {
			return failed(c.ListParked(ctx, &stelev1.ListParkedRequest{Sink: sink}))
		},
		"ListDrift": func(ctx context.Context) error {
			return failed(c.ListDrift(ctx, &stelev1.ListDriftRequest{Sink: sink}))
		},
		"Replay": func(ctx context.Context) error { return failed(c.Replay(ctx, &stelev1.ReplayRequest{Sink: sink})) },
		"Retry":  func(ctx context.Context) error { return failed(c.Retry(ctx, &stelev1.RetryRequest{Sink: sink})) },
		"Skip":   func(ctx context.Context) error { return failed(c.Skip(ctx, &stelev1.SkipRequest{Sink: sink})) },
		"CheckDrift": func(ctx context.Context) error {
			return failed(c.CheckDrift(ctx, &stelev1.CheckDriftRequest{Sink: sink}))
		},
		"ResolveDrift": func(ctx context.Context) error {
			return failed(c.ResolveDrift(ctx, &stelev1.ResolveDriftRequest{Sink: sink, Resolution: stelev1.ResolveDriftRequest_RESOLUTION_REPAIR}))
		},
		"GetRoutes": func(ctx context.Context) error { return failed(c.GetRoutes(ctx, &stelev1.GetRoutesRequest{})) },
		"PlanRoutes": func(ctx context.Context) error {
			return failed(c.PlanRoutes(ctx, &stelev1.PlanRoutesRequest{Routes: oneSink}))
		},
	}
}

func TestSinks_Permissions(t *testing.T) {
	f := startRecorded(t, routed(t, oneSink))
	operator := f.token(t, identity.Claims{Roles: []identity.Role{identity.Operator}})
	const see, decide, operate = 1, 2, 4
	needs := map[string]int{
		"ListSinks": see, "ListParked": see, "ListDrift": see, "Replay": decide, "Retry": decide, "Skip": decide, "CheckDrift": decide, "ResolveDrift": decide,
		"GetRoutes": operate, "PlanRoutes": operate,
	}
	for name, call := range f.sinkCalls("files") {
		for _, tc := range []struct {
			who string
			ctx context.Context
			may int
		}{
			{"no token", t.Context(), 0},
			{"a token without roles", f.as(t, "acme"), 0},
			{"a reader", f.as(t, "acme", identity.Reader), see},
			{"an auditor", f.as(t, "acme", identity.Auditor), see},
			{"a writer", f.as(t, "acme", identity.Writer), see},
			{"an admin", f.as(t, "acme", identity.Admin), see | decide},
			{"an operator for a tenant", bearer(t.Context(), operator, "as-tenant", "acme"), see | decide | operate},
			{"an operator for all", bearer(t.Context(), operator), see | decide | operate},
			{"an admin for another tenant", bearer(t.Context(), f.token(t, identity.Claims{Tenant: "other", Roles: []identity.Role{identity.Admin}}), "as-tenant", "acme"), 0},
		} {
			// This gateway has no way to the sinks, and says so to those that may ask.
			want := codes.PermissionDenied
			switch {
			case tc.who == "no token":
				want = codes.Unauthenticated
			case tc.may&needs[name] != 0 && (name == "GetRoutes" || name == "PlanRoutes"):
				want = codes.OK
			case tc.may&needs[name] != 0:
				want = codes.Unavailable
			}
			if err := call(tc.ctx); status.Code(err) != want {
				t.Errorf("%s by %s: %v, want %s", name, tc.who, err, want)
			}
		}
	}
}

func TestSinks_OfTheRoutesOnly(t *testing.T) {
	f := start(t, routed(t, oneSink))
	ctx := f.as(t, "acme", identity.Operator)
	for name, call := range f.sinkCalls("flies") {
		if name == "ListSinks" || name == "GetRoutes" || name == "PlanRoutes" {
			continue
		}
		if err := call(ctx); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), `no sink "flies" among [files]`) {
			t.Errorf("%s of a sink that is not there: %v", name, err)
		}
	}
	c := stelev1.NewSinksClient(f.conn)
	for want, call := range map[string]func() error{
		"sink": func() error { _, err := c.Replay(ctx, &stelev1.ReplayRequest{}); return err },
		"key":  func() error { _, err := c.Retry(ctx, &stelev1.RetryRequest{Sink: "files", Key: "a//b"}); return err },
		"name": func() error {
			_, err := c.CheckDrift(ctx, &stelev1.CheckDriftRequest{Sink: "files", Name: strings.Repeat("n", 2049)})
			return err
		},
		"resolution": func() error {
			_, err := c.ResolveDrift(ctx, &stelev1.ResolveDriftRequest{Sink: "files"})
			return err
		},
		"routes": func() error {
			_, err := c.PlanRoutes(ctx, &stelev1.PlanRoutesRequest{Routes: `{"sinks":[]}`})
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.InvalidArgument || field(err) != want {
			t.Errorf("a bad %s: %v", want, err)
		}
	}
}

// A plan counts what other routes would add to each sink, leave behind, and rewrite,
// over all tenants.
func TestPlanRoutes(t *testing.T) {
	f := start(t, routed(t, `{"sinks":{"files":{"kind":"directory"},"old":{"kind":"directory"},"same":{"kind":"directory"}},
		"routes":[{"prefix":"a/","sinks":["files","old"]},{"prefix":"b/","sinks":["files"]},{"prefix":"c/","sinks":["same"]}]}`))
	for _, tenant := range []ledger.Tenant{"acme", "globex"} {
		ctx := f.as(t, tenant, identity.Writer)
		for _, key := range []string{"a/1", "a/2", "b/1", "c/1", "d/1"} {
			f.commit(t, ctx, set(key, "1"))
		}
	}
	c := stelev1.NewSinksClient(f.conn)
	resp, err := c.PlanRoutes(f.as(t, "acme", identity.Operator), &stelev1.PlanRoutesRequest{Routes: `{
		"sinks":{"files":{"kind":"directory","mode":"0644"},"more":{"kind":"directory"},"same":{"kind":"directory"}},
		"routes":[{"prefix":"a/1","sinks":["files"]},{"prefix":"b/","sinks":["files","more"]},{"prefix":"c/","sinks":["same"]},{"prefix":"d/","sinks":["more"]}]}`})
	if err != nil {
		t.Fatal(err)
	}
	want := []*stelev1.SinkPlan{
		{Sink: "files", Kind: "directory", Unrouted: 2, Rewritten: 4},
		{Sink: "more", Kind: "directory", Added: 4},
		{Sink: "old", Kind: "directory", Unrouted: 4, Removed: true},
		{Sink: "same", Kind: "directory", Rewritten: 2},
	}
	if len(resp.Sinks) != len(want) {
		t.Fatalf("the plan is %v", resp)
	}
	for i, s := range resp.Sinks {
		if !proto.Equal(s, want[i]) {
			t.Errorf("%v, want %v", s, want[i])
		}
	}
}

// A plan of routes that could not be set fails as the change would.
func TestPlanRoutes_InvalidSettings(t *testing.T) {
	f := start(t, routed(t, oneSink), func(c *gateway.Config) {
		c.CheckRoutes = func(table *routes.Table) error {
			return projector.CheckSinks(map[string]projector.FitKind{"directory": directory.Fit}, table)
		}
	})
	c, ctx := stelev1.NewSinksClient(f.conn), f.as(t, "acme", identity.Operator)
	if _, err := c.PlanRoutes(ctx, &stelev1.PlanRoutesRequest{Routes: oneSink}); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{
		`{"sinks":{"files":{"kind":"directory","mode":"0777"}},"routes":[]}`: `projector/routes: settings of sink files: mode is "0777"`,
		`{"sinks":{"bus":{"kind":"kafka"}},"routes":[]}`:                     `projector/routes: sink bus is of the kind "kafka"`,
		`{"sinks":[]}`: "projector/routes: read the routes",
	} {
		_, err := c.PlanRoutes(ctx, &stelev1.PlanRoutesRequest{Routes: text})
		if status.Code(err) != codes.InvalidArgument || field(err) != "routes" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestGetRoutes_InForce(t *testing.T) {
	f := start(t, routed(t, oneSink))
	c, ctx := stelev1.NewSinksClient(f.conn), f.as(t, "acme", identity.Operator)
	get := func() *stelev1.GetRoutesResponse {
		t.Helper()
		resp, err := c.GetRoutes(ctx, &stelev1.GetRoutesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if r := get(); r.Routes != oneSink || r.Revision != 0 {
		t.Errorf("without routes in the ledger: %v", r)
	}
	const own = `{"sinks":{},"routes":[]}`
	f.commit(t, f.system(t), set("policy/acme/reads", `{"record":[]}`))
	f.commit(t, f.system(t), set("projector/routes", own))
	if r := get(); r.Routes != own || r.Revision != 2 {
		t.Errorf("with routes in the ledger: %v", r)
	}
}
