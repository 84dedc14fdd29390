package node_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/gateway/conn"
	"github.com/stelehq/stele/internal/gateway/identity"
)

// startWeb runs a node with all addresses, and returns what mints its tokens.
func startWeb(t *testing.T, connections conn.Config) (*node.Node, *identity.Signer) {
	t.Helper()
	signer, err := identity.OpenSigner(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := identity.NewVerifier(identity.Config{Keys: signer.Keys(), Issuer: identity.LocalIssuer, Audience: identity.LocalAudience})
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.Start(t.Context(), node.Config{
		Data: t.TempDir(), Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Web: "127.0.0.1:0", Roles: []string{node.RoleLedger, node.RoleGateway}, Verifier: verifier, Connections: connections, Log: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	return n, signer
}

// Connections to the web are limited like gRPC connections: one address cannot have all of them
// without a valid token, and one tenant not with one, in a header or in the cookie of a session.
func TestWeb_ConnectionsAreLimited(t *testing.T) {
	for _, test := range []struct {
		name    string
		headers func(token, port string) http.Header
		refused int // the status of one more connection; 0 if it is closed without an answer
	}{
		{"token", func(token, _ string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }, http.StatusTooManyRequests},
		{"session", func(token, port string) http.Header {
			return http.Header{"Cookie": {"stele-" + port + "-session=" + token}}
		}, http.StatusTooManyRequests},
		{"none", func(string, string) http.Header { return nil }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, signer := startWeb(t, conn.Config{Max: 8})
			token, err := signer.Mint(identity.Claims{Subject: "ann", Tenant: "acme", Roles: []identity.Role{identity.Reader}, TTL: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			_, port, err := net.SplitHostPort(n.Web())
			if err != nil {
				t.Fatal(err)
			}
			const most = 6 // of 8, for one tenant or address
			for i := range most + 1 {
				transport := &http.Transport{} // with a connection of its own, which stays open
				t.Cleanup(transport.CloseIdleConnections)
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.Web()+"/v1/status", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header = test.headers(token, port)
				status := 0
				if resp, err := (&http.Client{Timeout: 30 * time.Second, Transport: transport}).Do(req); err == nil {
					if _, err := io.Copy(io.Discard, resp.Body); err != nil {
						t.Fatal(err)
					}
					resp.Body.Close()
					status = resp.StatusCode
				}
				if refused := status == test.refused; refused != (i == most) {
					t.Errorf("connection %d gets the status %d", i+1, status)
				}
			}
		})
	}
}

// One address has a part of the connections to --http, and leaves the others to others.
func TestHTTP_OneAddressLeavesConnections(t *testing.T) {
	n, _ := startWeb(t, conn.Config{})
	const all, most, made = 256, 192, 300
	refused := make(chan struct{}, made)
	deadline := time.After(9 * time.Second) // before the server gives up those that send nothing, after 10 s
	for range made {
		c, err := net.Dial("tcp", n.HTTP())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		go func() {
			c.Read(make([]byte, 1))
			refused <- struct{}{}
		}()
	}
	for i := range made - most {
		select {
		case <-refused:
		case <-deadline:
			t.Fatalf("%d connections of %d were refused", i, made)
		}
	}
	other := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: other.DialContext, DisableKeepAlives: true}}
	resp, err := client.Get("http://" + n.HTTP() + "/healthz")
	if err != nil {
		t.Fatalf("another address, with %d connections of %d in use: %v", most, all, err)
	}
	resp.Body.Close()
}
