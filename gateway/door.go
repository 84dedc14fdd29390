package gateway

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/credentials"
)

// What is paced, because each costs the process more than its sender: who sends more
// waits, and nobody else does.
const (
	// newConnections of one address: so many at once, and so many a second after that.
	newConnectionsAtOnce, newConnectionsPerSecond = 200, 50
	// oddFrames of all connections together: what ends a call before its answer, and
	// what only has to be handled. A client sends few.
	oddFramesAtOnce, oddFramesPerSecond = 1000, 1000
)

// door is where connections come in: it has them wait for their turn, secures them,
// and meters what comes in.
type door struct {
	credentials.TransportCredentials
	oddFrames *rate.Limiter

	mu        sync.Mutex
	addresses map[netip.Addr]*rate.Limiter // those that have connected of late
	swept     time.Time
}

func newDoor(c credentials.TransportCredentials) *door {
	return &door{TransportCredentials: c, oddFrames: rate.NewLimiter(oddFramesPerSecond, oddFramesAtOnce), addresses: make(map[netip.Addr]*rate.Limiter)}
}

// ServerHandshake is called by gRPC on a connection's own goroutine.
func (d *door) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if inner, ok := c.(innerConn); ok {
		return inner.handshake()
	}
	turn, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	if err := d.from(c.RemoteAddr()).Wait(turn); err != nil {
		<-turn.Done() // it would only make another at once
		c.Close()
		return nil, nil, fmt.Errorf("too many new connections from %s: %w", c.RemoteAddr(), err)
	}
	secured, info, err := d.TransportCredentials.ServerHandshake(c)
	if err != nil {
		return nil, nil, err
	}
	return &metered{Conn: secured, odd: d.oddFrames, in: frames{skip: len(http2.ClientPreface)}}, info, nil
}

// from paces the new connections of an address.
func (d *door) from(a net.Addr) *rate.Limiter {
	var ip netip.Addr // the zero one for what is no TCP address
	if tcp, ok := a.(*net.TCPAddr); ok {
		ip = tcp.AddrPort().Addr()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); now.Sub(d.swept) > time.Minute {
		d.swept = now
		for ip, l := range d.addresses {
			if l.TokensAt(now) >= newConnectionsAtOnce {
				delete(d.addresses, ip)
			}
		}
	}
	l := d.addresses[ip]
	if l == nil {
		l = rate.NewLimiter(newConnectionsPerSecond, newConnectionsAtOnce)
		d.addresses[ip] = l
	}
	return l
}

// metered is a connection that is read more slowly when too many odd frames come in
// on it, or go out: gRPC resets what it refuses before it has all of it.
type metered struct {
	net.Conn
	odd     *rate.Limiter
	refused atomic.Int64 // odd frames that went out, and are not paced yet

	in, out frames // each owned by who reads, and who writes
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	for odd := m.in.odd(p[:n]) + int(m.refused.Swap(0)); odd > 0; odd -= oddFramesAtOnce {
		time.Sleep(m.odd.ReserveN(time.Now(), min(odd, oddFramesAtOnce)).Delay())
	}
	return n, err
}

func (m *metered) Write(p []byte) (int, error) {
	if odd := m.out.odd(p); odd > 0 {
		m.refused.Add(int64(odd))
	}
	return m.Conn.Write(p)
}

// frames is how far one direction of a connection is in its frames.
type frames struct {
	skip int     // bytes that are no frame's head
	head [9]byte // a frame's head, as far as it has come
	have int
}

// odd returns how many odd frames begin in what comes next.
func (f *frames) odd(b []byte) (odd int) {
	for {
		n := min(f.skip, len(b))
		f.skip -= n
		b = b[n:]
		n = copy(f.head[f.have:], b)
		f.have += n
		b = b[n:]
		if f.have < len(f.head) {
			return odd
		}
		f.have = 0
		f.skip = int(binary.BigEndian.Uint32(f.head[:]) >> 8)
		switch http2.FrameType(f.head[3]) {
		case http2.FrameData, http2.FrameHeaders, http2.FrameWindowUpdate, http2.FramePing:
		default:
			odd++
		}
	}
}
