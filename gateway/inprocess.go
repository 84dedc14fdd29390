package gateway

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

// InProcess connects to the gateway without a network, for what serves it over other
// protocols: their calls go the way of all calls, with tokens, rights, limits and
// records. Close the connection before the gateway.
func (g *Gateway) InProcess() (*grpc.ClientConn, error) {
	l := bufconn.Listen(connectionWindow)
	g.running.Go(func() { g.server.Serve(inner{l}) }) // it ends, without more to say, when the gateway closes
	conn, err := grpc.NewClient("passthrough:///in-process",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(2*MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithIdleTimeout(0),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to the gateway in this process: %w", err)
	}
	return conn, nil
}

// inner are connections that come from this process.
type inner struct{ net.Listener }

func (l inner) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return innerConn{c}, nil
}

// innerConn is let in by the door as it is: there is nobody between, and who calls
// through it is paced where they came in.
type innerConn struct{ net.Conn }

func (c innerConn) handshake() (net.Conn, credentials.AuthInfo, error) {
	return insecure.NewCredentials().ServerHandshake(c.Conn)
}
