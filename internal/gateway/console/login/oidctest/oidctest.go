// Package oidctest is a small OpenID Connect provider for tests, with one user without
// a password. It enforces the specifications on clients.
package oidctest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Provider listens on this machine until the test ends.
type Provider struct {
	// URL is the issuer.
	URL string
	// ClientID and ClientSecret are the one client's, and RedirectURL is where its
	// users are sent back to. Set it before the first login.
	ClientID, ClientSecret, RedirectURL string
	// Claims are in the access token and the ID token, in addition to the claims of
	// every token.
	Claims map[string]any
	// TTL is how long tokens are good.
	TTL time.Duration
	// Nonce, when set, is in ID tokens instead of the right one.
	Nonce string

	key *ecdsa.PrivateKey

	mu    sync.Mutex // guards codes
	codes map[string]login
}

// login holds the parameters of an authorization request.
type login struct{ nonce, challenge string }

// Start starts a provider.
func Start(t testing.TB) *Provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &Provider{ClientID: "console", ClientSecret: rand.Text(), TTL: time.Hour, key: key, codes: make(map[string]login)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.configuration)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("GET /authorize", p.ask)
	mux.HandleFunc("POST /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	p.URL = s.URL
	return p
}

func (p *Provider) configuration(w http.ResponseWriter, _ *http.Request) {
	answer(w, map[string]any{
		"issuer": p.URL, "jwks_uri": p.URL + "/keys", "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"ES256"}, "code_challenge_methods_supported": []string{"S256"},
	})
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	point, err := p.key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	answer(w, map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "1",
		"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
	}}})
}

// ask shows the page on which the user logs in, or says no.
func (p *Provider) ask(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name, want := range map[string]string{
		"client_id": p.ClientID, "redirect_uri": p.RedirectURL, "response_type": "code", "code_challenge_method": "S256",
	} {
		if q.Get(name) != want {
			http.Error(w, fmt.Sprintf("%s is %q, not %q", name, q.Get(name), want), http.StatusBadRequest)
			return
		}
	}
	if q.Get("code_challenge") == "" || q.Get("state") == "" || !slices.Contains([]string{"openid"}, q.Get("scope")) {
		http.Error(w, "a code_challenge, a state and the scope openid are needed", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprint(w, `<!doctype html><title>Provider</title><form method="post"><button name="answer" value="yes">Log in</button><button name="answer" value="no">Cancel</button></form>`)
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q, back := r.URL.Query(), url.Values{}
	back.Set("state", q.Get("state"))
	if r.FormValue("answer") == "yes" {
		code := rand.Text()
		p.mu.Lock()
		p.codes[code] = login{q.Get("nonce"), q.Get("code_challenge")}
		p.mu.Unlock()
		back.Set("code", code)
	} else {
		back.Set("error", "access_denied")
		back.Set("error_description", "<b>no</b>")
	}
	http.Redirect(w, r, p.RedirectURL+"?"+back.Encode(), http.StatusSeeOther)
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	if !ok {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	p.mu.Lock()
	l, known := p.codes[r.PostFormValue("code")]
	delete(p.codes, r.PostFormValue("code"))
	p.mu.Unlock()
	challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if id != p.ClientID || secret != p.ClientSecret || !known || r.PostFormValue("redirect_uri") != p.RedirectURL ||
		base64.RawURLEncoding.EncodeToString(challenge[:]) != l.challenge {
		w.WriteHeader(http.StatusBadRequest)
		answer(w, map[string]any{"error": "invalid_grant"})
		return
	}
	nonce := l.nonce
	if p.Nonce != "" {
		nonce = p.Nonce
	}
	answer(w, map[string]any{
		"token_type": "Bearer", "expires_in": int(p.TTL.Seconds()),
		"access_token": p.Sign(map[string]any{"aud": "stele", "use": "access"}),
		"id_token":     p.Sign(map[string]any{"aud": p.ClientID, "nonce": nonce, "use": "id"}),
	})
}

// Sign makes a token of the user's, with other claims; nil leaves one out.
func (p *Provider) Sign(more map[string]any) string {
	claims := jwt.MapClaims{"iss": p.URL, "sub": "ann", "iat": time.Now().Unix(), "exp": time.Now().Add(p.TTL).Unix()}
	maps.Copy(claims, p.Claims)
	maps.Copy(claims, more)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	t := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	t.Header["kid"] = "1"
	token, err := t.SignedString(p.key)
	if err != nil {
		panic(err)
	}
	return token
}

func answer(w http.ResponseWriter, doc any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(doc); err != nil {
		panic(http.ErrAbortHandler) // the client has gone
	}
}
