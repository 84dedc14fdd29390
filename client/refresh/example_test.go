package refresh_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/stelehq/stele/client/refresh"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// A service mounts the refresh on the gRPC server that it has.
func ExampleServe() {
	server := grpc.NewServer()
	reload := func(_ context.Context, r refresh.Request) error {
		for _, c := range r.Changes {
			fmt.Printf("%s@%d: %s\n", r.Tenant, c.Revision, c.Key)
		}
		return nil
	}
	secrets := []string{"a secret that both sides know"} // os.Getenv("REFRESH_SECRET")
	if err := refresh.Serve(server, secrets, reload); err != nil {
		fmt.Println(err)
		return
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(listener)
	defer server.Stop()

	// What stele-lambda does.
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+secrets[0])
	_, err = stelev1.NewCacheRefreshClient(conn).Refresh(ctx, &stelev1.RefreshRequest{
		Tenant:  "acme",
		Changes: []*stelev1.KeyChange{{Key: "tenantconfig/checkout/timeout_ms", Revision: 42}},
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// acme@42: tenantconfig/checkout/timeout_ms
}

// A service mounts the refresh as a webhook on the HTTP server that it has.
func ExampleHandler() {
	secrets := []string{"a secret that both sides know"} // os.Getenv("REFRESH_SECRET")
	handler, err := refresh.Handler(secrets, func(_ context.Context, r refresh.Request) error {
		fmt.Printf("%s@%d: %s\n", r.Tenant, r.Changes[0].Revision, r.Changes[0].Key)
		return nil
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/stele/refresh", handler)
	server := httptest.NewServer(mux)
	defer server.Close()

	// What stele-lambda does, and what a test of your own can do.
	body := `{"tenant":"acme","key":"tenantconfig/checkout/timeout_ms","operation":"set","revision":42}`
	req, err := http.NewRequest(http.MethodPost, server.URL+"/stele/refresh", strings.NewReader(body))
	if err != nil {
		fmt.Println(err)
		return
	}
	req.Header.Set(refresh.SignatureHeader, refresh.Sign(secrets[0], time.Now(), []byte(body)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	fmt.Println(resp.Status)
	// Output:
	// acme@42: tenantconfig/checkout/timeout_ms
	// 204 No Content
}
