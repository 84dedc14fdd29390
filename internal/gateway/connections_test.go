package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestConnection_LargeHeadersEndOneCall(t *testing.T) {
	f := start(t)
	ctx := f.as(t, "acme", identity.Writer)
	f.commit(t, ctx, set("a", "1"))
	for _, size := range []int{1 << 10, 30 << 10, 100 << 10, 5 << 20} {
		_, err := f.config.Get(metadata.AppendToOutgoingContext(ctx, "x-large", strings.Repeat("x", size)), &stelev1.GetRequest{Key: "a"})
		if refused := err != nil; refused != (size > 64<<10) {
			t.Errorf("headers of %d bytes: %v", size, err)
		}
	}
	if _, err := f.config.Get(ctx, &stelev1.GetRequest{Key: "a"}); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

// The budget of the process's memory bounds the connections.
func TestConnections_OfTheBudget(t *testing.T) {
	f := start(t, func(cfg *gateway.Config) {
		cfg.Budget = budget.New(0)
		cfg.Budget.Connections = 4
	})
	f.commit(t, f.as(t, "acme", identity.Writer), set("a", "1")) // with the first connection
	for n := 2; n <= 6; n++ {
		c, err := net.Dial("tcp", f.conn.Target())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, http2.ClientPreface)
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		_, err = c.Read(make([]byte, 1)) // of the server's settings
		if accepted := err == nil; accepted != (n <= 4) || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("connection %d of 4: %v", n, err)
		}
	}
}

// Clients that do not speak HTTP/2 are disconnected.
func TestConnection_WithoutHTTP2IsClosed(t *testing.T) {
	f := start(t)
	for _, say := range []string{"GET / HTTP/1.1\r\n\r\n" + strings.Repeat("x", 100), strings.Repeat("\x00", 100), http2.ClientPreface + strings.Repeat("\xff", 100)} {
		c, err := net.Dial("tcp", f.conn.Target())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, say)
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("after %q: %v", say[:10], err)
		}
	}
}

// Calls without a token stay open until their client ends them: a connection has few.
func TestConnection_FewCallsWithoutToken(t *testing.T) {
	f := start(t)
	watch := func() (end func(), err error) {
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		s, err := grpc_health_v1.NewHealthClient(f.conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		return cancel, err
	}
	var ends []func()
	for {
		end, err := watch()
		if status.Code(err) == codes.ResourceExhausted {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	if len(ends) != 4 {
		t.Errorf("a connection has %d streams without a token", len(ends))
	}
	if _, err := grpc_health_v1.NewHealthClient(f.conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one more call without a token: %v", err)
	}
	if _, err := f.ledger.GetHead(f.as(t, "acme", identity.Reader), &stelev1.GetHeadRequest{}); err != nil {
		t.Errorf("a call with a token: %v", err)
	}
	ends[0]()
	until(t, func() bool {
		_, err := watch()
		return err == nil
	})
}

// Streams without a token that fail do not count as open.
func TestConnection_FailedStreamsWithoutToken(t *testing.T) {
	f := start(t)
	for i := range 5 {
		stream, err := f.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, grpc_health_v1.Health_Watch_FullMethodName)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.CloseSend(); err != nil { // without a request
			t.Fatal(err)
		}
		if err := stream.RecvMsg(new(grpc_health_v1.HealthCheckResponse)); status.Code(err) != codes.Internal {
			t.Errorf("stream %d without a request: %v", i, err)
		}
	}
}

// Connections whose token was revoked count for their address, as those without a token do: it cannot
// have all.
func TestConnection_RevokedToken(t *testing.T) {
	f := start(t, func(c *gateway.Config) { c.Connections.Max = 12 }) // 9 of them without an authenticated call
	token := f.token(t, identity.Claims{Subject: "eve", Tenant: "acme", Roles: []identity.Role{identity.Reader}})
	f.commit(t, f.system(t), set("policy/revoked", `{"revoked":[{"subject":"eve"}]}`))
	for range 9 {
		if code := answerTo(t, f.partialCall(t, stelev1.Config_Get_FullMethodName, token, 100)); code != codes.Unauthenticated {
			t.Fatalf("a call with a revoked token: %v", code)
		}
	}
	if n, err := f.dialRaw(t).Read(make([]byte, 1)); err == nil {
		t.Errorf("one connection more is served: %d bytes", n)
	}
	if _, err := f.ledger.GetHead(f.as(t, "acme", identity.Reader), &stelev1.GetHeadRequest{}); err != nil {
		t.Error(err)
	}
}
