package login_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stelehq/stele/internal/gateway/console/login"
	"github.com/stelehq/stele/internal/gateway/console/login/oidctest"
	"github.com/stelehq/stele/internal/gateway/identity"
)

const console = "https://console.example"

var cookies = login.Cookies{Secure: true}

func begin(t *testing.T, p *oidctest.Provider, idToken bool) (provider *login.Provider, cookie *http.Cookie, at string) {
	t.Helper()
	client, err := identity.Client(identity.KeyringConfig{Issuer: p.URL})
	if err != nil {
		t.Fatal(err)
	}
	p.RedirectURL = console + login.Callback
	provider, err = login.NewProvider(login.ProviderConfig{
		Issuer: p.URL, URL: console + "/", ClientID: p.ClientID, ClientSecret: p.ClientSecret, IDToken: idToken, Client: client,
	})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	at, err = provider.Begin(cookies, w, httptest.NewRequest(http.MethodGet, console+"/login/provider", nil), "/acme@42/")
	if err != nil {
		t.Fatal(err)
	}
	kept := w.Result().Cookies()
	if len(kept) != 1 || !kept[0].HttpOnly || !kept[0].Secure || kept[0].SameSite != http.SameSiteLaxMode || kept[0].MaxAge != 600 {
		t.Fatalf("the login keeps %v", kept)
	}
	return provider, kept[0], at
}

// consent has the provider's user say yes or no, and returns where they are sent back to.
func consent(t *testing.T, at, answer string) string {
	t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, ask := range []func() (*http.Response, error){
		func() (*http.Response, error) { return client.Get(at) },
		func() (*http.Response, error) { return client.PostForm(at, url.Values{"answer": {answer}}) },
	} {
		resp, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusSeeOther {
			return resp.Header.Get("Location")
		}
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("the provider answers %s", resp.Status)
		}
	}
	t.Fatal("the provider does not redirect back")
	return ""
}

// end is the callback from the provider.
func end(provider *login.Provider, back string, cookie *http.Cookie) (token, to string, err error) {
	r := httptest.NewRequest(http.MethodGet, back, nil)
	if cookie != nil {
		r.AddCookie(cookie)
	}
	return provider.End(cookies, httptest.NewRecorder(), r)
}

func TestProvider_LogsIn(t *testing.T) {
	for use, idToken := range map[string]bool{"access": false, "id": true} {
		p := oidctest.Start(t)
		provider, cookie, at := begin(t, p, idToken)
		back := consent(t, at, "yes")
		token, to, err := end(provider, back, cookie)
		if err != nil || to != "/acme@42/" {
			t.Fatalf("%s: back to %q: %v", use, to, err)
		}
		claims := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil || claims["use"] != use {
			t.Errorf("the token is for %v, not %s: %v", claims["use"], use, err)
		}
		// The code is spent, and a browser that has kept its cookie nevertheless is refused.
		if token, _, err := end(provider, back, cookie); err == nil || token != "" {
			t.Errorf("a second time gives a token")
		}
	}
}

func TestEnd_LoginOfAnotherUser(t *testing.T) {
	p := oidctest.Start(t)
	provider, cookie, at := begin(t, p, false)
	_, theirs, _ := begin(t, p, false)
	back := consent(t, at, "yes")
	forged, _ := url.ParseQuery(cookie.Value)
	forged.Set("until", "1")
	for name, c := range map[string]*http.Cookie{
		"no cookie":       nil,
		"another login's": theirs,
		"too old":         {Name: cookie.Name, Value: forged.Encode()},
		"nonsense":        {Name: cookie.Name, Value: "%"},
		"empty":           {Name: cookie.Name},
	} {
		if token, to, err := end(provider, back, c); !errors.Is(err, login.ErrNotBegun) || token != "" || to != "/" {
			t.Errorf("%s: %q, %v", name, to, err)
		}
	}
	if _, _, err := end(provider, back, cookie); err != nil {
		t.Errorf("and then the right one: %v", err)
	}
}

func TestEnd_AnswersOfTheProvider(t *testing.T) {
	p := oidctest.Start(t)
	provider, cookie, at := begin(t, p, false)
	if _, to, err := end(provider, consent(t, at, "no"), cookie); !errors.Is(err, login.ErrRefused) || to != "/acme@42/" {
		t.Errorf("a refusal: %q, %v", to, err)
	}
	back := consent(t, at, "yes")
	other := strings.Replace(cookie.Value, "v=", "v=x", 1)
	if token, _, err := end(provider, back, &http.Cookie{Name: cookie.Name, Value: other}); err == nil || token != "" {
		t.Error("a login with another verifier gives a token")
	}
	p.Nonce = "another"
	if token, _, err := end(provider, consent(t, at, "yes"), cookie); err == nil || token != "" || !strings.Contains(err.Error(), "nonce") {
		t.Errorf("an ID token of another login: %v", err)
	}
}

func TestProvider_WrongOrUnreachable(t *testing.T) {
	for name, doc := range map[string]string{
		"another issuer":          `{"issuer":"https://evil.example","authorization_endpoint":"https://a.example","token_endpoint":"https://a.example","jwks_uri":"https://a.example"}`,
		"a token by http":         `{"issuer":"ISSUER","authorization_endpoint":"https://a.example","token_endpoint":"http://a.example/","jwks_uri":"https://a.example"}`,
		"a login that is script":  `{"issuer":"ISSUER","authorization_endpoint":"javascript:alert(1)","token_endpoint":"https://a.example/","jwks_uri":"https://a.example"}`,
		"nothing":                 ``,
		"no end":                  strings.Repeat(" ", 3<<20) + `{}`,
		"a login without address": `{"issuer":"ISSUER","token_endpoint":"https://a.example/"}`,
	} {
		var issuer string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(strings.ReplaceAll(doc, "ISSUER", issuer)))
		}))
		issuer = s.URL
		client, err := identity.Client(identity.KeyringConfig{Issuer: issuer})
		if err != nil {
			t.Fatal(err)
		}
		provider, err := login.NewProvider(login.ProviderConfig{Issuer: issuer, URL: console, ClientID: "console", Client: client})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		if at, err := provider.Begin(cookies, w, httptest.NewRequest(http.MethodGet, console, nil), "/"); err == nil || len(w.Result().Cookies()) > 0 {
			t.Errorf("%s: leads to %q", name, at)
		}
		s.Close()
	}
	for _, u := range []string{"", "console.example", "https://", "https://console.example/path", "ftp://console.example", "https://a:b@console.example", "https://console.example?q"} {
		if _, err := login.NewProvider(login.ProviderConfig{URL: u, Client: http.DefaultClient}); err == nil {
			t.Errorf("a console at %q", u)
		}
	}
}
