package console_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/console"
	"github.com/stelehq/stele/internal/gateway/console/login"
	"github.com/stelehq/stele/internal/gateway/identity"
)

// with is another console of the same gateway.
func (f *fixture) with(t testing.TB, cfg console.Config) *fixture {
	t.Helper()
	cfg.Conn, cfg.Bodies = f.calls, f.bodies
	pages, err := console.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	other := *f
	other.web = httptest.NewServer(pages)
	t.Cleanup(other.web.Close)
	return &other
}

func TestLink_LogsItsFirstUserIn(t *testing.T) {
	f := start(t)
	token := f.token(t, identity.Claims{Subject: "operator", Roles: []identity.Role{identity.Operator}})
	link := login.NewLink(func() (string, error) { return token, nil })
	f = f.with(t, console.Config{Link: link})
	path := "/login?code=" + link.Code()

	ahead := f.anonymous()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, f.web.URL+path, nil)
	req.Header.Set("Sec-Purpose", "prefetch;prerender")
	if a := ahead.do(t, req); a.code != http.StatusMethodNotAllowed {
		t.Errorf("a browser that looks ahead: %d", a.code)
	}
	head, _ := http.NewRequestWithContext(t.Context(), http.MethodHead, f.web.URL+path, nil)
	if a := ahead.do(t, head); a.code != http.StatusMethodNotAllowed {
		t.Errorf("a program that only looks: %d", a.code)
	}

	first := f.anonymous()
	if a := first.get(t, path+"&to=/acme@2/keys/"); a.code != http.StatusOK || a.header.Get("Refresh") != "0; url=/acme@2/keys/" {
		t.Errorf("the link: %d, then to %q", a.code, a.header.Get("Refresh"))
	}
	if a := first.get(t, "/"); a.code != http.StatusOK {
		t.Errorf("the first page: %d", a.code)
	}
	if a := first.get(t, path); a.code != http.StatusSeeOther || a.header.Get("Location") != "/" {
		t.Errorf("once more: %d to %q", a.code, a.header.Get("Location"))
	}
	if a := f.anonymous().get(t, path); a.code != http.StatusUnauthorized || !strings.Contains(a.text(), "before") {
		t.Errorf("another user: %d %s", a.code, a.text())
	}
	if a := f.anonymous().get(t, "/login?code=x"); a.code != http.StatusUnauthorized {
		t.Errorf("another code: %d", a.code)
	}
}

func TestLogin_TooMany(t *testing.T) {
	f := start(t)
	v := f.anonymous()
	refused := 0
	for range 60 {
		if a := v.post(t, "/login", url.Values{"token": {"nonsense"}}); a.code == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused < 30 {
		t.Errorf("of 60 tries at once %d were refused", refused)
	}
	if a := v.get(t, "/login"); a.code != http.StatusOK {
		t.Errorf("the page itself: %d", a.code)
	}
}

func TestLogin_InvalidTokens(t *testing.T) {
	f := start(t)
	for _, token := range []string{"", " ", "a b", "a\nb", "a;b", "ü", "\x00", `a"b`, strings.Repeat("x", 20_000), "a.b.c"} {
		v := f.anonymous()
		a := v.post(t, "/login", url.Values{"token": {token}})
		if a.code != http.StatusUnauthorized || a.header.Get("Set-Cookie") != "" {
			t.Errorf("%.20q: %d, and the browser keeps %q", token, a.code, a.header.Get("Set-Cookie"))
		}
	}
}

// A user who follows a link of another site comes without cookies: the console
// redirects to itself first. Then the session is found, or the login page is shown.
func TestLogin_LinkOfAnotherSite(t *testing.T) {
	f := start(t)
	visit := func(v *browser, site string) *answer {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, f.web.URL+"/acme@3/keys/a?b=%22c", nil)
		req.Header.Set("Sec-Fetch-Site", site)
		req.Header.Set("Sec-Fetch-Dest", "document")
		return v.do(t, req)
	}
	for _, site := range []string{"cross-site", "same-site"} {
		if a := visit(f.anonymous(), site); a.code != http.StatusOK || a.header.Get("Refresh") != "0; url=/acme@3/keys/a?b=%22c" {
			t.Errorf("%s: %d, then to %q", site, a.code, a.header.Get("Refresh"))
		}
	}
	for _, site := range []string{"same-origin", "none", ""} {
		if a := visit(f.anonymous(), site); a.code != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), "/login?to=%2Facme%403") {
			t.Errorf("%q: %d to %q", site, a.code, a.header.Get("Location"))
		}
	}
}

func TestHeaders_EveryAnswerIsProtected(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	for _, path := range []string{"/", "/acme/", "/login", "/nosuch/", "/-/assets/nosuch", "/favicon.ico", "/acme/raw/tenantconfig/checkout/timeout_ms", "/login/callback", "/login/provider", "/%00"} {
		a := v.get(t, path)
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if a.header.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, a.header.Get(name))
			}
		}
		policy := a.header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self';", "style-src 'self';", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: the policy is %q, without %s", path, policy, part)
			}
		}
	}
}

func TestLogout(t *testing.T) {
	f := start(t)
	setup(t, f)
	v := f.writer(t, "acme")
	if a := v.get(t, "/acme/"); a.code != http.StatusOK {
		t.Fatalf("before: %d", a.code)
	}
	if a := v.get(t, "/logout"); a.code != http.StatusMethodNotAllowed {
		t.Errorf("a link to it: %d", a.code)
	}
	v.post(t, "/logout", nil)
	if a := v.get(t, "/acme/"); a.code != http.StatusSeeOther {
		t.Errorf("after: %d", a.code)
	}
}
