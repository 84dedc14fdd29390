package login

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/identity"
	"pgregory.net/rapid"
)

// browser keeps cookies as a browser does, except for behavior that only a real one can
// test.
func browser(req *http.Request, answers ...*httptest.ResponseRecorder) *http.Request {
	jar := map[string]*http.Cookie{}
	for _, a := range answers {
		for _, c := range a.Result().Cookies() {
			jar[c.Name] = c
			if c.MaxAge < 0 {
				delete(jar, c.Name)
			}
		}
	}
	for _, c := range jar {
		req.AddCookie(c)
	}
	return req
}

func TestCookies_TokensOfAnyLength(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Cookies{Secure: rapid.Bool().Draw(t, "secure")}
		r := httptest.NewRequest(http.MethodGet, "http://console.example/", nil)
		var answers []*httptest.ResponseRecorder
		for range rapid.IntRange(1, 3).Draw(t, "logins") {
			token := strings.Repeat(rapid.StringMatching("[A-Za-z0-9_.-]").Draw(t, "byte"), rapid.IntRange(1, identity.MaxToken).Draw(t, "bytes"))
			w := httptest.NewRecorder()
			c.SetToken(w, r, token)
			for _, line := range w.Header()["Set-Cookie"] {
				pair, attributes, _ := strings.Cut(line, "; ")
				if len(pair) > 4096 {
					t.Errorf("a cookie of %d bytes: browsers take 4096", len(pair))
				}
				if !strings.Contains(attributes, "HttpOnly") || !strings.Contains(attributes, "SameSite=Strict") || !strings.Contains(attributes, "Path=/") ||
					strings.Contains(attributes, "Domain") || c.Secure != strings.Contains(attributes, "Secure") || c.Secure != strings.HasPrefix(pair, "__Host-") {
					t.Errorf("the cookie has %s", attributes)
				}
			}
			answers = append(answers, w)
			if got := c.Token(browser(httptest.NewRequest(http.MethodGet, r.URL.String(), nil), answers...)); got != token {
				t.Fatalf("a token of %d bytes is returned with %d", len(token), len(got))
			}
		}
		w := httptest.NewRecorder()
		c.Clear(w, r)
		if got := c.Token(browser(httptest.NewRequest(http.MethodGet, r.URL.String(), nil), append(answers, w)...)); got != "" {
			t.Errorf("after a logout %d bytes of the token are left", len(got))
		}
	})
}

func TestCookies_OfConsolesOnOneMachine(t *testing.T) {
	c := Cookies{}
	one, two := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:7072/", nil), httptest.NewRequest(http.MethodGet, "http://127.0.0.1:7082/", nil)
	w1, w2 := httptest.NewRecorder(), httptest.NewRecorder()
	c.SetToken(w1, one, "first")
	c.SetToken(w2, two, "second")
	if got := c.Token(browser(one, w1, w2)); got != "first" {
		t.Errorf("the first console reads %q", got)
	}
	if got := c.Token(browser(two, w1, w2)); got != "second" {
		t.Errorf("the second console reads %q", got)
	}
}

func TestLink_WorksOnce(t *testing.T) {
	made := 0
	l := NewLink(func() (string, error) { made++; return "the token", nil })
	if len(l.Code()) < 26 {
		t.Errorf("a code of %d letters can be guessed", len(l.Code()))
	}
	for _, wrong := range []string{"", "x", l.Code() + "x", l.Code()[1:], strings.ToLower(l.Code())} {
		if got, _ := l.Use(wrong); got != "" || made > 0 {
			t.Errorf("the code %q gives %q", wrong, got)
		}
	}
	if got, err := l.Use(l.Code()); got != "the token" || err != nil {
		t.Errorf("the link gives %q", got)
	}
	if got, _ := l.Use(l.Code()); got != "" || made != 1 {
		t.Errorf("the link gives %q a second time", got)
	}
	if got, _ := (*Link)(nil).Use(""); got != "" {
		t.Errorf("no link gives %q", got)
	}
}

func TestLocalPath(t *testing.T) {
	for _, to := range []string{"/", "/acme@42/keys/tenantconfig/?q=a%20b", "/login/callback"} {
		if got := LocalPath(to); got != to {
			t.Errorf("%q became %q", to, got)
		}
	}
	for _, to := range []string{
		"", "acme", "//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "javascript:alert(1)", "/\t/evil.example",
		"/\n/evil.example", " /acme", "/acme\r\nSet-Cookie: a=b", "/\x00", "/" + strings.Repeat("a", 2048), "/ü",
	} {
		if got := LocalPath(to); got != "/" {
			t.Errorf("%q leads to %q", to, got)
		}
	}
}

func FuzzLocalPath(f *testing.F) {
	f.Add("/acme/")
	f.Add("//evil.example")
	f.Add("/\\evil.example")
	f.Fuzz(func(t *testing.T, to string) {
		here := httptest.NewRequest(http.MethodGet, "https://console.example/login", nil).URL
		next, err := here.Parse(LocalPath(to))
		if err != nil {
			return // a browser may read it differently; that it stays is tested by what it begins with
		}
		if next.Host != here.Host || next.Scheme != here.Scheme {
			t.Errorf("%q leads to %s", to, next)
		}
	})
}

func FuzzParseFlow(f *testing.F) {
	f.Add(newFlow("/acme/").String())
	f.Add("s=a&n=b&v=c&until=1&to=//evil.example")
	f.Fuzz(func(t *testing.T, kept string) {
		got, ok := parseFlow(kept)
		if !ok {
			return
		}
		if got.state == "" || got.nonce == "" || got.verifier == "" || got.to != LocalPath(got.to) {
			t.Errorf("%q is read as %+v", kept, got)
		}
		if again, ok := parseFlow(got.String()); !ok || again != got {
			t.Errorf("%+v is kept as %+v", got, again)
		}
	})
}
