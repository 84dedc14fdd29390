package conn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// webServer is an HTTP server with a Limiter. A request with a header "Token" is one with a valid
// token.
type webServer struct {
	limiter *Limiter
	address string
	url     string
	http    *http.Server
	client  *http.Client
}

// serveHTTP serves without TLS, or with it.
func serveHTTP(t *testing.T, cfg Config, secure bool) *webServer {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var ours, theirs *tls.Config
	s := &webServer{limiter: New(cfg, discard), address: inner.Addr().String(), url: "http://" + inner.Addr().String()}
	if secure {
		ours, theirs = tlsConfigs(t)
		s.url = "https://" + s.address
	}
	ln := s.limiter.HTTPListener(inner, ours)
	s.http = &http.Server{ConnContext: HTTPContext, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Token") != "" && FromHTTP(r.Context()).Authenticated("acme") != nil {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		fmt.Fprint(w, r.RemoteAddr)
	})}
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(ln) }()
	transport := &http.Transport{TLSClientConfig: theirs}
	s.client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.http.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
		waitFor(t, "the server that has stopped counts connections", func() bool {
			s.limiter.mu.Lock()
			defer s.limiter.mu.Unlock()
			return s.limiter.open == 0 && s.limiter.waiting == 0
		})
	})
	return s
}

// waitFor waits for a state, and fails the test with what is the case without it.
func waitFor(t *testing.T, without string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !reached(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(without)
		}
	}
}

// request makes a request, and returns the body of its answer.
func (s *webServer) request(t *testing.T, token string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Token", token)
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s, %v", resp.StatusCode, body, err)
	}
	return string(body)
}

// dial makes a connection and sends some bytes on it.
func (s *webServer) dial(t *testing.T, say string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, say); err != nil {
		t.Fatal(err)
	}
	return c
}

// unauthenticated is how many connections of this machine count as such.
func (l *Limiter) unauthenticated() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.address(ipOf(&net.TCPAddr{IP: net.ParseIP("127.0.0.1")})).unauthenticated
}

// Connections of HTTP count on the budget of their address until they carry a request with a valid
// token, and wait when it is spent.
func TestHTTPListener_Budget(t *testing.T) {
	for name, secure := range map[string]bool{"plaintext": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			s := serveHTTP(t, Config{}, secure)
			s.request(t, "")
			if n := s.limiter.unauthenticated(); n != 1 {
				t.Errorf("%d connections count as unauthenticated after a request without a token", n)
			}
			s.request(t, "good") // on the same connection
			if n := s.limiter.unauthenticated(); n != 0 {
				t.Errorf("%d connections count as unauthenticated after a request with a token", n)
			}
			s.limiter.spend(net.ParseIP("127.0.0.1"), 100*budgetSize)
			s.dial(t, "GET / HTTP/1.1\r\nHost: stele\r\n\r\n")
			waitFor(t, "a connection over the budget does not wait", func() bool {
				s.limiter.mu.Lock()
				defer s.limiter.mu.Unlock()
				return s.limiter.waiting == 1
			})
			s.request(t, "good") // it delays no other; the end of the test also ends its wait
		})
	}
}

// Clients that begin a TLS handshake and stop do not keep others from theirs, and a handshake that
// fails is counted.
func TestHTTPListener_Handshakes(t *testing.T) {
	s := serveHTTP(t, Config{}, true)
	slots := s.limiter.handshakes.free
	for range 4 * slots {
		s.dial(t, "\x16\x03\x01\x02\x00\x01\x00")
	}
	s.request(t, "good")
	c := s.dial(t, "GET / HTTP/1.1\r\n\r\n")
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Error(err)
	}
	failed := s.limiter.metrics.refused.WithLabelValues(string(reasonHandshake))
	waitFor(t, "the handshake that failed is not counted", func() bool { return counted(failed) == 1 })
	waitFor(t, "a handshake that stalled or failed still counts", func() bool { return s.limiter.handshakes.idle(slots) })
}

func TestHTTPListener_ProxyHeader(t *testing.T) {
	s := serveHTTP(t, Config{ProxyProtocol: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, false)
	const request = "GET / HTTP/1.1\r\nHost: stele\r\nConnection: close\r\n\r\n"
	for say, want := range map[string]string{"PROXY TCP4 192.0.2.7 192.0.2.1 77 1\r\n" + request: "192.0.2.7:77", request: ""} {
		answer, err := io.ReadAll(s.dial(t, say))
		if want == "" {
			if len(answer) > 0 {
				t.Errorf("without a header: %q", answer)
			}
			continue
		}
		if err != nil || !strings.HasSuffix(string(answer), want) {
			t.Errorf("with a header: %q, %v", answer, err)
		}
	}
}
