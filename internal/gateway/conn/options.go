package conn

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

const (
	// MaxStreams are open on a connection at a time. Clients wait for one to end before
	// they open another. At most as many handlers of a connection run, including
	// handlers of calls that were reset: the connection is not read while they do.
	MaxStreams = 1000
	// maxHeaders of a call, in bytes: the longest token, identity.MaxToken, and as much
	// again for everything else, twice.
	maxHeaders = 64 << 10
	// CallWindow and ConnectionWindow are the bytes that a client may send of a call and of
	// a connection before the gateway reads them. gRPC would let both grow to 16 MiB, so
	// that a message that is refused for its length arrives in full: 200 per second made a
	// neighbor's p99 5 times as long. A message that is read gets room for all of it at
	// once.
	CallWindow, ConnectionWindow = 64 << 10, 1 << 20
	// idleTimeout ends a connection without calls; clients connect again when they need
	// one.
	idleTimeout = 5 * time.Minute
	// A client that does not answer a ping, or does not read its messages, is
	// disconnected after answerTimeout.
	pingInterval  = time.Minute
	answerTimeout = 20 * time.Second
)

// ServerOptions are the options of the gRPC server that serves a Listener.
func (l *Limiter) ServerOptions(secure credentials.TransportCredentials) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(limitedCredentials{secure, l}),
		grpc.InTapHandle(l.tapHandle),
		grpc.MaxConcurrentStreams(MaxStreams),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.StaticStreamWindowSize(CallWindow),
		grpc.StaticConnWindowSize(ConnectionWindow),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTimeout, Time: pingInterval, Timeout: answerTimeout}),
	}
}
