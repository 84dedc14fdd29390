package node_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/internal/gateway/identity"
)

// Connections to the web are limited like gRPC connections: without a valid token, they use up the
// budget of their address.
func TestWeb_ConnectionsAreLimited(t *testing.T) {
	signer, err := identity.OpenSigner(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := identity.NewVerifier(identity.Config{Keys: signer.Keys(), Issuer: identity.LocalIssuer, Audience: identity.LocalAudience})
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.Start(t.Context(), node.Config{
		Data: t.TempDir(), Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Web: "127.0.0.1:0", Roles: []string{node.RoleLedger, node.RoleGateway}, Verifier: verifier, Log: quiet,
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
	token, err := signer.Mint(identity.Claims{Subject: "ann", Tenant: "acme", Roles: []identity.Role{identity.Reader}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	_, port, err := net.SplitHostPort(n.Web())
	if err != nil {
		t.Fatal(err)
	}
	const budget = 2000 // of one address
	for name, headers := range map[string]http.Header{"a token": {"Authorization": {"Bearer " + token}}, "a session": {"Cookie": {"stele-" + port + "-session=" + token}}} {
		for range budget * 3 / 4 {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.Web()+"/v1/status", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = headers
			resp, err := client.Do(req)
			if err != nil {
				t.Fatalf("with %s: %v", name, err)
			}
			resp.Body.Close()
		}
	}
	if got := metric(t, n.HTTP(), "stele_connections_delayed_total"); got != "0" {
		t.Errorf("%s of %d connections with a valid token were delayed", got, 2*budget*3/4)
	}
	// The budget refills while they are made, so their number depends on the machine.
	until(t, "a delayed connection", func() bool {
		for range 500 {
			c, err := net.Dial("tcp", n.Web())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}
		return metric(t, n.HTTP(), "stele_connections_delayed_total") != "0"
	})
}

// metric is a metric without labels, as text.
func metric(t *testing.T, address, name string) string {
	t.Helper()
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("metric %s not found", name)
	return ""
}
