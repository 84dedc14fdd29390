package rest_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/body"
	"github.com/stelehq/stele/internal/gateway/gatewaytest"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/rest"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
)

// world is the API over a real gateway and ledger, at a real address.
type world struct {
	t       testing.TB
	handler http.Handler
	server  *httptest.Server
	node    *ledgertest.Node
	memory  *budget.Divided // for the bodies of requests
	issuer  *gatewaytest.Issuer
	end     context.CancelFunc // of the server's streams
}

func start(t testing.TB, change ...func(*gateway.Config)) *world {
	t.Helper()
	return startAPI(t, func(*rest.Config) {}, change...)
}

func startAPI(t testing.TB, api func(*rest.Config), change ...func(*gateway.Config)) *world {
	t.Helper()
	g := gatewaytest.Start(t, func(n *ledgertest.Node, c *gateway.Config) {
		c.ReadLog = gatewaytest.ReadLog(n)
		for _, f := range change {
			f(c)
		}
	})
	w := &world{t: t, node: g.Node, issuer: g.Issuer, memory: budget.NewDivided("bodies", 48<<20)}
	cfg := rest.Config{Conn: g.DialInProcess(t), Bodies: body.Memory{Share: w.memory, Verify: g.Front().Verify}}
	api(&cfg)
	var err error
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
	return w.issuer.Token(w.t, c)
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
