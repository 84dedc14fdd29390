package console_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/body"
	"github.com/stelehq/stele/internal/gateway/console"
	"github.com/stelehq/stele/internal/gateway/gatewaytest"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/net/html"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// fixture is a console in front of a gateway with a ledger of its own.
type fixture struct {
	web    *httptest.Server
	calls  *calls
	node   *ledgertest.Node
	issuer *gatewaytest.Issuer
	bodies body.Memory
	ledger stelev1.LedgerClient
	config stelev1.ConfigClient
}

func start(t testing.TB, change ...func(*fixture, *gateway.Config)) *fixture {
	t.Helper()
	f := &fixture{}
	g := gatewaytest.Start(t, func(n *ledgertest.Node, cfg *gateway.Config) {
		f.node, cfg.ReadLog = n, gatewaytest.ReadLog(n)
		for _, c := range change {
			c(f, cfg)
		}
	})
	f.issuer = g.Issuer
	conn := g.DialInProcess(t)
	f.calls = &calls{ClientConnInterface: conn}
	f.bodies = body.Memory{Share: budget.NewDivided("bodies", 48<<20), Verify: g.Front().Verify}
	pages, err := console.New(console.Config{Conn: f.calls, Bodies: f.bodies})
	if err != nil {
		t.Fatal(err)
	}
	f.web = httptest.NewServer(pages)
	t.Cleanup(func() {
		f.web.CloseClientConnections()
		f.web.Close()
	})
	f.ledger, f.config = stelev1.NewLedgerClient(conn), stelev1.NewConfigClient(conn)
	return f
}

// calls counts what the console asks of the gateway.
type calls struct {
	grpc.ClientConnInterface
	mu      sync.Mutex
	made    []string
	streams []context.Context
	panics  string // the method that panics, in the goroutine that waits for the gateway
}

func (c *calls) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	c.mu.Lock()
	c.made = append(c.made, method)
	panics := method == c.panics
	c.mu.Unlock()
	if panics {
		panic("called " + method)
	}
	return c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

func (c *calls) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	c.mu.Lock()
	c.streams = append(c.streams, ctx)
	panics := method == c.panics
	c.mu.Unlock()
	stream, err := c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	if panics {
		stream = panickingStream{stream}
	}
	return stream, err
}

// panickingStream panics when it receives a commit.
type panickingStream struct{ grpc.ClientStream }

func (s panickingStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if resp, ok := m.(*stelev1.WatchResponse); ok && resp.GetCommit() != nil {
		panic("received")
	}
	return err
}

// panicAt makes calls of a method panic; none if it is empty.
func (c *calls) panicAt(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.panics = method
}

// since forgets the calls until now, and returns a function that lists those after.
func (c *calls) since() func() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made = nil
	return func() []string {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.made
	}
}

func (f *fixture) token(t testing.TB, c identity.Claims) string { return f.issuer.Token(t, c) }

// as is a context of a caller in a tenant, with all permissions there.
func (f *fixture) as(t testing.TB, tenant ledger.Tenant) context.Context {
	token := f.token(t, identity.Claims{Subject: "carol", Tenant: tenant, Roles: []identity.Role{identity.Admin, identity.Writer}})
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
}

// system is a context of an operator in the ledger's own tenant.
func (f *fixture) system(t testing.TB) context.Context {
	token := f.token(t, identity.Claims{Roles: []identity.Role{identity.Operator}})
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token, "as-tenant", string(ledger.System))
}

// set commits keys and values, and returns the revision.
func (f *fixture) set(t testing.TB, ctx context.Context, message string, kv ...string) uint64 {
	t.Helper()
	req := &stelev1.CommitRequest{Message: message}
	for i := 0; i < len(kv); i += 2 {
		req.Changes = append(req.Changes, &stelev1.Change{Key: kv[i], Value: kv[i+1], Delete: kv[i+1] == ""})
	}
	resp, err := f.ledger.Commit(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Revision
}

// browser is a browser without scripts, which keeps cookies and follows no redirect.
type browser struct {
	web    *httptest.Server
	client *http.Client
}

// login is the browser of a user who has logged in with a token.
func (f *fixture) login(t testing.TB, c identity.Claims) *browser {
	t.Helper()
	v := f.anonymous()
	answer := v.post(t, "/login", url.Values{"token": {f.token(t, c)}})
	if answer.code != http.StatusSeeOther {
		t.Fatalf("log in: %d %s", answer.code, answer.text())
	}
	return v
}

func (f *fixture) writer(t testing.TB, tenant ledger.Tenant) *browser {
	return f.login(t, identity.Claims{Tenant: tenant, Roles: []identity.Role{identity.Writer}})
}

func (f *fixture) anonymous() *browser {
	return &browser{f.web, &http.Client{
		Jar: &jar{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// jar keeps cookies of one server, also those for TLS only.
type jar struct{ cookies map[string]*http.Cookie }

func (j *jar) SetCookies(_ *url.URL, cookies []*http.Cookie) {
	if j.cookies == nil {
		j.cookies = map[string]*http.Cookie{}
	}
	for _, c := range cookies {
		if j.cookies[c.Name] = c; c.MaxAge < 0 {
			delete(j.cookies, c.Name)
		}
	}
}

func (j *jar) Cookies(*url.URL) (out []*http.Cookie) {
	for _, c := range j.cookies {
		out = append(out, c)
	}
	return out
}

func (v *browser) get(t testing.TB, path string) *answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, v.web.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v.do(t, req)
}

func (v *browser) post(t testing.TB, path string, form url.Values) *answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.web.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return v.do(t, req)
}

func (v *browser) do(t testing.TB, req *http.Request) *answer {
	t.Helper()
	resp, err := v.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	return &answer{resp.StatusCode, resp.Header, string(body), doc}
}

// answer is what the console answered.
type answer struct {
	code   int
	header http.Header
	body   string
	doc    *html.Node
}

// all are the elements of a name.
func (a *answer) all(name string) (out []*html.Node) {
	for n := range a.doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			out = append(out, n)
		}
	}
	return out
}

// main is the text of the page's content.
func (a *answer) main() string {
	for _, n := range a.all("main") {
		return textOf(n)
	}
	return ""
}

func (a *answer) text() string { return textOf(a.doc) }

// form is what the first form to a path would send, as it is; of those that only ask,
// when there is no other.
func (a *answer) form(t testing.TB, action string) url.Values {
	t.Helper()
	forms := a.all("form")
	slices.SortStableFunc(forms, func(x, y *html.Node) int { return -strings.Compare(attr(x, "method"), attr(y, "method")) })
	for _, n := range forms {
		if attr(n, "action") != action {
			continue
		}
		out := url.Values{}
		for field := range n.Descendants() {
			switch name := attr(field, "name"); {
			case name == "":
			case field.Data == "textarea":
				out.Set(name, strings.TrimPrefix(rawText(field), "\n"))
			case field.Data == "input":
				out.Set(name, attr(field, "value"))
			}
		}
		return out
	}
	t.Fatalf("no form leads to %s in:\n%s", action, a.text())
	return nil
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func rawText(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

// textOf is the visible text of an element, without its layout.
func textOf(n *html.Node) string {
	var words []string
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			words = append(words, strings.Fields(d.Data)...)
		}
	}
	return strings.Join(words, " ")
}

// brief is the beginning of a text, for a test's complaint.
func brief(s string) string { return s[:min(len(s), 600)] }

func prefixes(p ...ledger.Pattern) []ledger.Pattern { return p }
