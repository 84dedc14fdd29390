package rest_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/gateway"
	"github.com/stelehq/stele/gateway/identity"
	"github.com/stelehq/stele/gateway/rest"
	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/journal"
	"github.com/stelehq/stele/ledger/ledgertest"
)

// world is the API over a real gateway and ledger, at a real address.
type world struct {
	t       testing.TB
	handler http.Handler
	server  *httptest.Server
	node    *ledgertest.Node
	signer  *identity.Signer
	end     context.CancelFunc // of the server's streams
}

func start(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, node: ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})}
	var err error
	if w.signer, err = identity.OpenSigner(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	verifier, err := identity.NewVerifier(identity.Config{Keys: w.signer.Keys(), Issuer: identity.LocalIssuer, Audience: identity.LocalAudience})
	if err != nil {
		t.Fatal(err)
	}
	reads := sync.OnceValues(func() (gateway.ReadLog, error) {
		return w.node.Journal.OpenAuxStream(context.Background(), journal.Reads)
	})
	g, err := gateway.New(gateway.Config{
		Replica: w.node.Replica, Verifier: verifier, Reads: true, Roles: []string{"ledger", "gateway"}, Version: "test",
		Ledger: func() (*ledger.Ledger, error) { return w.node.Ledger, nil }, ReadLog: reads,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	cfg := rest.Config{}
	calls, err := g.InProcess()
	if err != nil {
		t.Fatal(err)
	}
	watches, err := g.InProcess()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Calls, cfg.Watches = calls, watches
	t.Cleanup(func() { calls.Close(); watches.Close() })
	if w.handler, err = rest.New(cfg); err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewUnstartedServer(w.handler)
	ctx, end := context.WithCancel(context.Background())
	w.end = end
	w.server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	w.server.Start()
	t.Cleanup(func() { end(); w.server.Close() })
	return w
}

func (w *world) token(c identity.Claims) string {
	w.t.Helper()
	if c.Subject == "" {
		c.Subject = "ann"
	}
	if c.TTL == 0 {
		c.TTL = time.Hour
	}
	token, err := w.signer.Mint(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// as is a caller's token: what they may do in one tenant.
func (w *world) as(tenant string, roles ...identity.Role) string {
	return w.token(identity.Claims{Tenant: ledger.Tenant(tenant), Roles: roles})
}

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   string
}

// do makes a request; headers are "Name: value".
func (w *world) do(method, path, token, body string, headers ...string) answer {
	w.t.Helper()
	req, err := http.NewRequest(method, w.server.URL+path, bytes.NewReader([]byte(body)))
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := w.server.Client().Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(read)}
}

// must is do where the answer is OK.
func (w *world) must(method, path, token, body string, headers ...string) answer {
	w.t.Helper()
	a := w.do(method, path, token, body, headers...)
	if a.status != http.StatusOK {
		w.t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return a
}
