package refresh_test

import (
	"context"
	"errors"
	"net"
	"reflect"
	"strings"
	"testing"

	"github.com/stelehq/stele/client/refresh"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	secret  = "correct-horse-battery"
	another = "staple-correct-horse-"
)

// serve starts a service that mounts the refresh, and returns a client of it.
func serve(t *testing.T, reload func(context.Context, refresh.Request) error) stelev1.CacheRefreshClient {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	if err := refresh.Serve(server, []string{secret, another}, reload); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return stelev1.NewCacheRefreshClient(conn)
}

func request() *stelev1.RefreshRequest {
	return &stelev1.RefreshRequest{Tenant: "acme", Changes: []*stelev1.KeyChange{
		{Key: "tenantconfig/a", Revision: 7, CommitId: []byte{0xab, 1}},
		{Key: "tenantconfig/b", Revision: 7, CommitId: []byte{0xab, 1}, Deleted: true},
	}}
}

func TestServe_PassesTheChange(t *testing.T) {
	var got []refresh.Request
	c := serve(t, func(_ context.Context, r refresh.Request) error {
		got = append(got, r)
		return nil
	})
	for _, s := range []string{secret, another} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+s)
		if _, err := c.Refresh(ctx, request()); err != nil {
			t.Fatal(err)
		}
	}
	want := refresh.Request{Tenant: "acme", Changes: []refresh.KeyChange{
		{Key: "tenantconfig/a", Revision: 7, CommitID: "ab01"},
		{Key: "tenantconfig/b", Revision: 7, CommitID: "ab01", Deleted: true},
	}}
	if !reflect.DeepEqual(got, []refresh.Request{want, want}) {
		t.Errorf("the service heard %+v", got)
	}
}

func TestServe_Rejects(t *testing.T) {
	c := serve(t, func(context.Context, refresh.Request) error {
		t.Error("the service was called")
		return nil
	})
	good := []string{"authorization", "Bearer " + secret}
	for name, tc := range map[string]struct {
		header []string
		req    *stelev1.RefreshRequest
		want   codes.Code
	}{
		"no secret":            {nil, request(), codes.Unauthenticated},
		"an empty one":         {[]string{"authorization", "Bearer "}, request(), codes.Unauthenticated},
		"another's":            {[]string{"authorization", "Bearer " + strings.ToUpper(secret)}, request(), codes.Unauthenticated},
		"the beginning of it":  {[]string{"authorization", "Bearer " + secret[:16]}, request(), codes.Unauthenticated},
		"another scheme":       {[]string{"authorization", "Basic " + secret}, request(), codes.Unauthenticated},
		"no scheme":            {[]string{"authorization", secret}, request(), codes.Unauthenticated},
		"a good and a bad one": {append([]string{"authorization", "Bearer x"}, good...), request(), codes.Unauthenticated},
		"no tenant":            {good, &stelev1.RefreshRequest{Changes: request().Changes}, codes.InvalidArgument},
		"no change":            {good, &stelev1.RefreshRequest{Tenant: "acme"}, codes.InvalidArgument},
		"a change without key": {good, &stelev1.RefreshRequest{Tenant: "acme", Changes: []*stelev1.KeyChange{{}}}, codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := metadata.AppendToOutgoingContext(t.Context(), tc.header...)
			if _, err := c.Refresh(ctx, tc.req); status.Code(err) != tc.want {
				t.Errorf("the answer is %v, not %s", err, tc.want)
			}
		})
	}
}

func TestServe_ReturnsTheServicesError(t *testing.T) {
	c := serve(t, func(context.Context, refresh.Request) error { return errors.New("the disk is full") })
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+secret)
	if _, err := c.Refresh(ctx, request()); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("the answer is %v", err)
	}
}

func TestServe_RequiresASecret(t *testing.T) {
	for name, secrets := range map[string][]string{
		"none":          nil,
		"an empty one":  {""},
		"a short one":   {"123456789012345"},
		"one too short": {secret, ""},
	} {
		if err := refresh.Serve(grpc.NewServer(), secrets, nil); err == nil {
			t.Errorf("%s: gRPC is served", name)
		}
		if _, err := refresh.Handler(secrets, nil); err == nil {
			t.Errorf("%s: a webhook is served", name)
		}
	}
}
