package console_test

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/secret"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/metadata"
)

// TestEscaping: user input is text on every page, never markup.
func TestEscaping(t *testing.T) {
	f := start(t)
	const hostile = `"></code><script>alert(1)</script><img src=x onerror=alert(1)>'{{1}}`
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+f.token(t, identity.Claims{
		Subject: `<b onclick=x>eve</b>`, Tenant: "acme", Roles: []identity.Role{identity.Admin, identity.Writer}}))
	f.set(t, ctx, hostile+" \u202etxt.exe", "a/key", `"first"`)
	f.set(t, ctx, hostile, "a/key", `{"</pre><script>alert(2)</script>":"`+"\u202e"+`evil\u003c"}`)
	v := f.writer(t, "acme")
	for _, path := range []string{
		"/acme/", "/acme/keys/a/", "/acme/keys/a/key", "/acme/keys/a/key?edit=1", "/acme/history", "/acme/commits/1", "/acme/commits/2", "/acme/commits/2/revert", "/acme/delete/a/key",
		"/acme/keys/?filter=" + "%3Cscript%3Ealert(3)%3C/script%3E", "/acme/history?author=%22%3E%3Cscript%3E&text=%3Cimg+src%3Dx%3E&since=%3Cscript%3E", "/acme/keys/a/key?written=%3Cscript%3E",
		"/login?to=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
	} {
		a := v.get(t, path)
		if a.code >= 500 {
			t.Errorf("%s: %d", path, a.code)
		}
		for n := range a.doc.Descendants() {
			if n.Data == "img" || n.Data == "b" || n.Data == "script" && attr(n, "src") == "" {
				t.Errorf("%s has what somebody wrote as a part of it: %s", path, n.Data)
			}
		}
		if strings.Contains(a.text(), "\u202e") { // what a button copies is exact
			t.Errorf("%s has a mark that turns the text after it", path)
		}
	}
	if a := v.get(t, "/acme/raw/a/key"); a.header.Get("Content-Type") != "application/json" || !strings.HasPrefix(a.header.Get("Content-Disposition"), "attachment") || !strings.Contains(a.body, "\u202e") {
		t.Errorf("the value itself: %v", a.header)
	}
}

// TestLargeValues: a page shows the beginning, and the rest can be downloaded.
func TestLargeValues(t *testing.T) {
	f := start(t)
	value := `"` + strings.Repeat("x", ledger.MaxValue-2) + `"`
	f.set(t, f.as(t, "acme"), "large", "a/large", value)
	f.set(t, f.as(t, "acme"), "larger", "a/large", strings.Replace(value, "x", "y", 1))
	v := f.writer(t, "acme")
	for _, path := range []string{"/acme/keys/a/", "/acme/keys/a/large", "/acme/history", "/acme/commits/2", "/acme/commits/2/revert"} {
		if a := v.get(t, path); a.code != http.StatusOK || len(a.body) > 200<<10 {
			t.Errorf("%s: %d, %d bytes", path, a.code, len(a.body))
		}
	}
	if a := v.get(t, "/acme@1/raw/a/large"); a.body != value {
		t.Errorf("the value itself has %d bytes", len(a.body))
	}
}

// TestSecrets are shown only to users who have permission and ask for it.
func TestSecrets(t *testing.T) {
	f := start(t, func(f *fixture, c *gateway.Config) {
		text, err := secret.GenerateKEK()
		if err != nil {
			t.Fatal(err)
		}
		kek, err := secret.ParseKEK(text)
		if err != nil {
			t.Fatal(err)
		}
		table, err := routes.Parse([]byte(`{"sinks":{},"routes":[{"prefix":"s/","secret":true}]}`))
		if err != nil {
			t.Fatal(err)
		}
		c.Routes = routes.NewSource(c.Replica, table, slog.New(slog.DiscardHandler))
		c.Secrets = secret.New(secret.Config{KEK: kek, Replica: c.Replica, Routes: c.Routes, Keys: func() (secret.Keys, error) {
			return f.node.Journal.OpenBucket(context.Background(), journal.Keys)
		}})
		seal := c.Secrets.Seal
		c.Ledger = sync.OnceValues(func() (*ledger.Ledger, error) {
			l := ledger.New(ledger.Config{Journal: f.node.Journal, Replica: f.node.Replica, Seal: seal})
			t.Cleanup(l.Close)
			return l, nil
		})
	})
	const canary = "canary-4d1f-secret"
	f.set(t, f.as(t, "acme"), "one", "s/password", `"`+canary+`-old"`)
	f.set(t, f.as(t, "acme"), "two", "s/password", `"`+canary+`"`)
	writer := f.writer(t, "acme")
	revealer := f.login(t, identity.Claims{Tenant: "acme", Roles: []identity.Role{identity.Reader, identity.Revealer}})
	for _, v := range []*visitor{writer, revealer} {
		for _, path := range []string{"/acme/keys/s/", "/acme/keys/s/password", "/acme/keys/s/password?edit=1", "/acme/raw/s/password", "/acme/history", "/acme/commits/2", "/acme/commits/2/revert", "/acme/delete/s/password", "/acme/reveal/s/password"} {
			if a := v.get(t, path); strings.Contains(a.body, canary) {
				t.Errorf("%s tells the secret", path)
			}
		}
	}
	if a := writer.get(t, "/acme/keys/s/password"); !strings.Contains(a.main(), "secret") || strings.Contains(a.main(), "Reveal") && !strings.Contains(a.main(), "Revealing") {
		t.Errorf("a writer's page: %s", brief(a.main()))
	}
	if a := writer.post(t, "/acme/reveal/s/password", nil); a.code != http.StatusForbidden || strings.Contains(a.body, canary) {
		t.Errorf("revealed to a writer: %d %s", a.code, brief(a.text()))
	}
	form := revealer.get(t, "/acme/keys/s/password").form(t, "/acme/reveal/s/password")
	if a := revealer.post(t, "/acme/reveal/s/password", form); a.code != http.StatusOK || !strings.Contains(a.main(), canary) || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("revealed: %d %s", a.code, brief(a.text()))
	}
	// Its form does not begin with the mask, which would be written as the value.
	if form := writer.get(t, "/acme/keys/s/password?edit=1").form(t, "/acme/keys/s/password"); form.Get("value") != "" {
		t.Errorf("the form holds %q", form.Get("value"))
	}
}

// TestReceipt: the downloads of a commit prove it to a holder of the public key.
func TestReceipt(t *testing.T) {
	var tree *proof.Tree
	f := start(t, func(_ *fixture, c *gateway.Config) {
		var err error
		if tree, err = proof.OpenTree(proof.Config{Path: filepath.Join(t.TempDir(), "tree.db")}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tree.Close() })
		c.Tree = tree
	})
	setup(t, f)
	v := f.writer(t, "acme")
	if a := v.get(t, "/acme/commits/2"); a.code != http.StatusOK || strings.Contains(a.main(), "Receipt") {
		t.Errorf("before anything is signed: %d %s", a.code, brief(a.main()))
	}
	private, public, err := proof.GenerateKey(f.node.Journal.Epoch())
	if err != nil {
		t.Fatal(err)
	}
	key, err := proof.ParseKey(private)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := proof.ParseVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	side, err := f.node.Journal.OpenAuxStream(t.Context(), journal.Checkpoints)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Follow(f.node.Journal); err != nil {
		t.Fatal(err)
	}
	if err := tree.Sign(side, key); err != nil {
		t.Fatal(err)
	}
	a := v.get(t, "/acme/commits/2/receipt") // it waits for the signature
	if a.code != http.StatusOK {
		t.Fatalf("%d %s", a.code, brief(a.text()))
	}
	r, err := proof.ParseReceipt(a.body)
	if err != nil {
		t.Fatal(err)
	}
	if c, _, err := r.Verify(verifier); err != nil || c.Revision != 2 || c.Tenant != "acme" {
		t.Errorf("%v, %v", c, err)
	}
	if a := v.get(t, "/acme/commits/2"); !strings.Contains(a.main(), "signed") || !strings.Contains(a.main(), "Receipt") {
		t.Errorf("the page: %s", brief(a.main()))
	}
}

// TestAssets are cached permanently by browsers, and match the hash in their names.
func TestAssets(t *testing.T) {
	f := start(t)
	v := f.anonymous()
	page := v.get(t, "/login")
	n := 0
	for _, e := range append(page.all("script"), page.all("link")...) {
		path := attr(e, "src") + attr(e, "href")
		a := v.get(t, path)
		if a.code != http.StatusOK || !strings.Contains(a.header.Get("Cache-Control"), "immutable") || len(a.body) == 0 {
			t.Errorf("%s: %d %v", path, a.code, a.header)
		}
		n++
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.web.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", "gzip")
		if zipped := v.do(t, req); zipped.header.Get("Content-Encoding") != "gzip" || zipped.header.Get("Vary") != "Accept-Encoding" || len(zipped.body) >= len(a.body) {
			t.Errorf("%s with gzip: %v, %d bytes", path, zipped.header, len(zipped.body))
		}
	}
	if n < 5 {
		t.Errorf("the page loads %d files", n)
	}
	if a := v.get(t, "/-/assets/000000000000/console.css"); a.code != http.StatusNotFound {
		t.Errorf("a file of another version: %d", a.code)
	}
}

// TestTheme is a visitor's choice, also without scripts.
func TestTheme(t *testing.T) {
	f := start(t)
	v := f.anonymous()
	theme := func() string { return attr(v.get(t, "/login").all("html")[0], "data-theme") }
	if theme() != "" {
		t.Errorf("the first time it is %q", theme())
	}
	for _, choice := range []string{"dark", "light"} {
		a := v.post(t, "/-/theme", map[string][]string{"theme": {choice}, "to": {"//evil.example"}})
		if a.header.Get("Location") != "/" || theme() != choice {
			t.Errorf("%s: %q, and to %s", choice, theme(), a.header.Get("Location"))
		}
	}
	v.post(t, "/-/theme", map[string][]string{"theme": {`"><script>`}})
	if theme() != "" {
		t.Errorf("no theme at all is %q", theme())
	}
}

// TestReadsAreRecorded: what the pages read, is recorded as any other read.
func TestReadsAreRecorded(t *testing.T) {
	f := start(t)
	operator := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+f.token(t, identity.Claims{Roles: []identity.Role{identity.Operator}}), "as-tenant", "_system")
	f.set(t, operator, "record", "policy/acme/reads", `{"prefixes":["tenantconfig/"]}`)
	setup(t, f)
	f.writer(t, "acme").get(t, "/acme/keys/"+timeoutKey)
	list, err := f.ledger.ListReads(f.as(t, "acme"), &stelev1.ListReadsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list.Reads {
		if r.Subject == "alice" && r.Method == stelev1.Config_Get_FullMethodName && len(r.Keys) == 1 && r.Keys[0] == timeoutKey {
			return
		}
	}
	t.Errorf("the records are %v", list.Reads)
}
