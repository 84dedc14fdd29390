package gateway

import (
	"net"
	"time"

	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// What a connection may take of a process, before and beside the limits of tenants.
const (
	// maxConnections are open at a time; others wait until one ends. An idle one takes
	// some 50 kB, so all of them half a gigabyte.
	maxConnections = 10_000
	// maxStreams are open on a connection at a time. Clients wait for one to end
	// before they ask for more. As many handlers of a connection run at most, also
	// of calls that were reset: the connection is not read on while they do.
	maxStreams = 1000
	// maxHeaders of a call, in bytes: the longest token, identity.MaxToken, and as much again
	// for everything else, twice.
	maxHeaders = 64 << 10
	// What a client may send before somebody reads it, of a call and of a connection.
	// gRPC would let it grow to 16 MiB, so that a message which is refused for its
	// length comes in whole: 200 a second made a neighbour's p99 5 times as long. One that is read gets room for all of it at once.
	callWindow, connectionWindow = 64 << 10, 1 << 20
	// handshakeTimeout is how long a connection may take until it can be called on.
	handshakeTimeout = 10 * time.Second
	// idleTimeout ends a connection without calls; clients connect again when they
	// need one.
	idleTimeout = 5 * time.Minute
	// A client that does not answer a ping, or takes nothing that was sent to it, is
	// gone after answerTimeout.
	pingInterval  = time.Minute
	answerTimeout = 20 * time.Second
)

func connectionOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(2 * MaxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.StaticStreamWindowSize(callWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTimeout, Time: pingInterval, Timeout: answerTimeout}),
	}
}

// limited bounds the listener's connections.
func limited(l net.Listener) net.Listener {
	return netutil.LimitListener(prompt{l}, maxConnections)
}

// prompt are connections that end when what was sent is not taken for answerTimeout.
// gRPC sets this itself, but not on a connection that something is wrapped around.
type prompt struct{ net.Listener }

func (l prompt) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok && err == nil {
		if err := setUserTimeout(tcp, answerTimeout); err != nil {
			c.Close() // it is gone already
		}
	}
	return c, err
}
