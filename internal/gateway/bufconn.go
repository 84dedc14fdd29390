package gateway

import (
	"context"
	"fmt"
	"net"

	"github.com/stelehq/stele/internal/gateway/conn"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

// InProcess connects to the gateway without a network, for what serves it over other
// protocols: their calls go the way of all calls, with tokens, rights, limits and
// records. Connections have no limits: callers are limited where they connect. Close the connection before the gateway.
func (g *Gateway) InProcess() (*grpc.ClientConn, error) {
	l := bufconn.Listen(conn.ConnectionWindow)
	g.running.Go(func() { g.server.Serve(l) }) // it ends, without more to say, when the gateway closes
	client, err := grpc.NewClient("passthrough:///in-process",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(2*conn.MaxMessage), grpc.MaxCallSendMsgSize(conn.MaxMessage)),
		grpc.WithIdleTimeout(0),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to the gateway in this process: %w", err)
	}
	return client, nil
}
