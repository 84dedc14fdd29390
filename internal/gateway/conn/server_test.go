package conn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
	"github.com/stelehq/stele/internal/porttest"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// server is a gRPC server with a Limiter. A call with a header "token" is one with a
// valid token.
type server struct {
	limiter *Limiter
	address string
	grpc    *grpc.Server
	served  chan error

	mu   sync.Mutex
	from []string // addresses of the clients of calls, in order
}

func serve(t testing.TB, address string, cfg Config, secure credentials.TransportCredentials) *server {
	t.Helper()
	s := &server{limiter: New(cfg, discard), served: make(chan error, 1)}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s.address = ln.Addr().String()
	s.grpc = grpc.NewServer(append(s.limiter.ServerOptions(secure), grpc.UnaryInterceptor(s.unary))...)
	grpc_health_v1.RegisterHealthServer(s.grpc, health.NewServer())
	go func() { s.served <- s.grpc.Serve(s.limiter.Listener(ln)) }()
	t.Cleanup(func() { s.stop(t) })
	return s
}

func (s *server) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	p, _ := peer.FromContext(ctx)
	s.mu.Lock()
	s.from = append(s.from, p.Addr.String())
	s.mu.Unlock()
	c := FromContext(ctx)
	if len(metadata.ValueFromIncomingContext(ctx, "token")) > 0 {
		c.Authenticated("acme")
	}
	resp, err := handle(ctx, req)
	if ctx.Err() == nil {
		c.Answered()
	}
	return resp, err
}

// stop ends the server, and checks that it counts no connection any more.
func (s *server) stop(t testing.TB) {
	s.grpc.Stop()
	if s.served == nil {
		return
	}
	if err := <-s.served; err != nil {
		t.Errorf("serve: %v", err)
	}
	s.served = nil
	if s.limiter.open != 0 || s.limiter.waiting != 0 {
		t.Errorf("a server that has stopped counts %d open and %d waiting connections", s.limiter.open, s.limiter.waiting)
	}
}

// clients are connections of clients, each with a call to make.
type clients []*grpc.ClientConn

func dial(t testing.TB, n int, address string, secure credentials.TransportCredentials) (all clients) {
	for range n {
		cc, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(secure),
			grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 20 * time.Second, Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cc.Close() })
		all = append(all, cc)
	}
	return all
}

// call has all of them make a call at once, and returns when each has its answer.
func (all clients) call(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "token", "good"), 5*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for _, cc := range all {
		wg.Go(func() {
			for {
				_, err := grpc_health_v1.NewHealthClient(cc).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
				if status.Code(err) == codes.Unavailable {
					continue // it was sent on the connection that the server closed
				}
				if err != nil {
					t.Errorf("call: %v", err)
				}
				return
			}
		})
	}
	wg.Wait()
}

// certificate returns what a server and its clients need for TLS.
func certificate(t testing.TB) (server, client credentials.TransportCredentials) {
	t.Helper()
	ours, theirs := tlsConfigs(t)
	return credentials.NewTLS(ours), credentials.NewTLS(theirs)
}

func tlsConfigs(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"}, DNSNames: []string{"gateway"},
		NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13},
		&tls.Config{RootCAs: pool, ServerName: "gateway"}
}

// All clients of one address that reconnect when a server restarts are served, although
// the budget of the address for connections without calls is a fraction of their
// number.
func TestReconnect_AllClientsBehindOneAddressAreServed(t *testing.T) {
	tlsServer, tlsClient := certificate(t)
	for name, test := range map[string]struct {
		clients        int
		server, client credentials.TransportCredentials
	}{
		"plaintext": {2000, insecure.NewCredentials(), insecure.NewCredentials()},
		"TLS":       {1000, tlsServer, tlsClient},
	} {
		t.Run(name, func(t *testing.T) {
			first := serve(t, porttest.Free(t, 1)[0], Config{}, test.server)
			all := dial(t, test.clients, first.address, test.client)
			all.call(t)
			first.stop(t)
			second := serve(t, first.address, Config{}, test.server)
			second.limiter.spend(net.ParseIP("127.0.0.1"), budgetSize-100)
			all.call(t)
			// The server notices later that a client has abandoned a connection.
			waitFor(t, "connections still wait or count as unauthenticated", func() bool {
				second.limiter.mu.Lock()
				defer second.limiter.mu.Unlock()
				for _, a := range second.limiter.addresses {
					if a.unauthenticated != 0 {
						return false
					}
				}
				return second.limiter.waiting == 0
			})
		})
	}
}

// spend takes from the budget of an address what connections without a call would.
func (l *Limiter) spend(ip net.IP, n float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.address(ipOf(&net.TCPAddr{IP: ip})).budget -= n
}

// Clients that begin a TLS handshake and stop do not keep others from theirs.
func TestHandshake_StalledOnesTakeNoTurn(t *testing.T) {
	tlsServer, tlsClient := certificate(t)
	s := serve(t, "127.0.0.1:0", Config{}, tlsServer)
	for i := range 4 * s.limiter.handshakes.free {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		// The head of a ClientHello, of which the rest does not follow, or a part of it.
		if _, err := c.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}[:1+i%11]); err != nil {
			t.Fatal(err)
		}
	}
	dial(t, 5, s.address, tlsClient).call(t)
}

func TestHandshake_FailureIsCounted(t *testing.T) {
	tlsServer, _ := certificate(t)
	s := serve(t, "127.0.0.1:0", Config{}, tlsServer)
	slots := s.limiter.handshakes.free
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	// The TLS package closes the connection, and only then does the limiter count it.
	io.Copy(io.Discard, c)
	failed := s.limiter.metrics.refused.WithLabelValues(string(reasonHandshake))
	for deadline := time.Now().Add(time.Minute); counted(failed) == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if got := counted(failed); got != 1 {
		t.Errorf("the metric counts %v failed handshakes, want 1", got)
	}
	if !s.limiter.handshakes.idle(slots) {
		t.Error("the handshake that failed still counts")
	}
}

// proxied are connections that begin with the header.
func proxied(t testing.TB, address, header string) *grpc.ClientConn {
	cc, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err != nil {
				return nil, err
			}
			return &prefixed{Conn: c, prefix: header}, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

// prefixed sends a prefix in one packet with what is written first.
type prefixed struct {
	net.Conn
	prefix string
}

func (p *prefixed) Write(b []byte) (int, error) {
	prefix := p.prefix
	p.prefix = ""
	n, err := p.Conn.Write(append([]byte(prefix), b...))
	return max(0, n-len(prefix)), err
}

// header is one of the PROXY protocol.
func header(t testing.TB, version byte, client string) string {
	t.Helper()
	source := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(client))
	h := proxyproto.HeaderProxyFromAddrs(version, source, &net.TCPAddr{IP: source.IP, Port: 443})
	text, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const v2Signature = "\r\n\r\n\x00\r\nQUIT\n"

func TestProxyProtocol(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	elsewhere := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	const own = "127.0.0.1:" // the address of the connection itself
	for name, test := range map[string]struct {
		trusted []netip.Prefix
		header  string
		from    string // client's address, or empty for a connection that is refused
	}{
		"version 1, IPv4":                {loopback, header(t, 1, "203.0.113.7:4711"), "203.0.113.7:4711"},
		"version 1, IPv6":                {loopback, header(t, 1, "[2001:db8::7]:4711"), "[2001:db8::7]:4711"},
		"version 2, IPv4":                {loopback, header(t, 2, "203.0.113.7:4711"), "203.0.113.7:4711"},
		"version 2, IPv6":                {loopback, header(t, 2, "[2001:db8::7]:4711"), "[2001:db8::7]:4711"},
		"version 1, unknown":             {loopback, "PROXY UNKNOWN\r\n", own},
		"version 2, local":               {loopback, v2Signature + "\x20\x00\x00\x00", own},
		"without a header":               {loopback, "", ""},
		"a header twice":                 {loopback, header(t, 1, "203.0.113.7:4711") + header(t, 1, "203.0.113.8:4711"), ""},
		"from an untrusted address":      {elsewhere, header(t, 1, "203.0.113.7:4711"), ""},
		"no header, untrusted":           {elsewhere, "", own},
		"no address is trusted":          {nil, header(t, 2, "203.0.113.7:4711"), ""},
		"not an address":                 {loopback, "PROXY TCP4 evil 1.2.3.4 1 2\r\n", ""},
		"a port out of range":            {loopback, "PROXY TCP4 1.2.3.4 1.2.3.4 99999 2\r\n", ""},
		"a family that does not fit":     {loopback, "PROXY TCP4 2001:db8::7 2001:db8::8 1 2\r\n", ""},
		"too few fields":                 {loopback, "PROXY TCP4 1.2.3.4\r\n", ""},
		"a line without an end":          {loopback, "PROXY TCP4 " + string(make([]byte, 4096)), ""},
		"version 3":                      {loopback, v2Signature + "\x31\x11\x00\x00", ""},
		"version 2, too short":           {loopback, v2Signature + "\x21\x11\x00\x04\x01\x02\x03\x04", ""},
		"version 2, of a socket in Unix": {loopback, v2Signature + "\x21\x31\x00\xd8" + string(make([]byte, 216)), ""},
		"version 2, as UDP":              {loopback, v2Signature + "\x21\x12\x00\x0c" + "\x01\x02\x03\x04\x01\x02\x03\x04\x00\x01\x00\x02", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, "127.0.0.1:0", Config{ProxyProtocol: test.trusted}, insecure.NewCredentials())
			cc := proxied(t, s.address, test.header)
			_, err := grpc_health_v1.NewHealthClient(cc).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			switch {
			case test.from == "" && err == nil:
				t.Errorf("the connection was accepted, from %s", s.from)
			case test.from == "" && contains(test.trusted, netip.MustParseAddr("127.0.0.1")) && name != "a header twice":
				if got := counted(s.limiter.metrics.refused.WithLabelValues(string(reasonProxyHeader))); got == 0 {
					t.Error("the metric counts no refused header")
				}
			case test.from == "":
			case err != nil:
				t.Error(err)
			case len(s.from) != 1 || s.from[0] != test.from && (test.from != own || s.from[0][:len(own)] != own):
				t.Errorf("the call came from %s, want %s", s.from, test.from)
			}
		})
	}
}

// The budget belongs to the client that the header names.
func TestProxyProtocol_EachClientHasABudget(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	s := serve(t, "127.0.0.1:0", Config{ProxyProtocol: loopback}, insecure.NewCredentials())
	for i := range 3 {
		cc := proxied(t, s.address, header(t, 2, fmt.Sprintf("203.0.113.%d:4711", i+1)))
		if _, err := grpc_health_v1.NewHealthClient(cc).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	s.limiter.mu.Lock()
	defer s.limiter.mu.Unlock()
	if len(s.limiter.addresses) != 3 {
		t.Errorf("%d addresses have a budget, want 3", len(s.limiter.addresses))
	}
}

// Calls that are reset slow their connection, whether the message was sent or not;
// canceled and answered calls of ordinary clients do not.
func TestResets_OverTheNetwork(t *testing.T) {
	for name, test := range map[string]struct {
		body bool // send the call's message before the reset
	}{"with messages": {true}, "without messages": {false}} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, "127.0.0.1:0", Config{}, insecure.NewCredentials())
			ordinary := dial(t, 1, s.address, insecure.NewCredentials())
			for range 3 * countEvery {
				ordinary.call(t)
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				grpc_health_v1.NewHealthClient(ordinary[0]).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
			}
			if got := counted(s.limiter.metrics.slowReads); got != 0 {
				t.Fatalf("an ordinary client is read more slowly, %v times", got)
			}

			c, err := net.Dial("tcp", s.address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			go io.Copy(io.Discard, c)
			io.WriteString(c, http2.ClientPreface)
			f := http2.NewFramer(c, nil)
			f.WriteSettings()
			var block writerBuffer
			encoder := hpack.NewEncoder(&block)
			for i := uint32(1); counted(s.limiter.metrics.slowReads) == 0; i += 2 {
				block = block[:0]
				for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", grpc_health_v1.Health_Check_FullMethodName}, {":authority", "a"}, {"content-type", "application/grpc"}} {
					encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
				}
				f.WriteHeaders(http2.HeadersFrameParam{StreamID: i, BlockFragment: block, EndHeaders: true})
				if test.body {
					f.WriteData(i, true, make([]byte, 5))
				}
				if err := f.WriteRSTStream(i, http2.ErrCodeCancel); err != nil || i > 1_000_000 {
					t.Fatalf("after %d calls: %v", i/2, err)
				}
			}
		})
	}
}

type writerBuffer []byte

func (b *writerBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}
