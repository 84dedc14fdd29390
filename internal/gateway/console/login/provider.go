package login

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/stelehq/stele/internal/netaddr"
	"golang.org/x/oauth2"
)

// Callback is the path that the identity provider redirects users to.
const Callback = "/login/callback"

// answerTimeout bounds one exchange with the provider, and maxAnswer its response, in
// bytes.
const (
	answerTimeout = 10 * time.Second
	maxAnswer     = 1 << 20
)

// ProviderConfig configures logins at an OpenID Connect provider.
type ProviderConfig struct {
	// Issuer is the provider, as its tokens and its discovery document name it.
	Issuer string
	// URL is where browsers find the console, without a path.
	URL string
	// ClientID and ClientSecret are the console's at the provider; a public client
	// has no secret.
	ClientID, ClientSecret string
	// Scopes are requested in addition to openid.
	Scopes []string
	// IDToken: the ID token is the one that the gateway takes, not the access token.
	IDToken bool
	// Client speaks with the provider; see identity.Client.
	Client *http.Client
}

// Provider logs users in by the authorization code flow with PKCE. It asks for no
// refresh token: when a token ends, the provider gives the next one, most often
// without asking its user anything.
type Provider struct {
	cfg    ProviderConfig
	client *http.Client

	mu         sync.Mutex // guards discovered
	discovered *discovered
}

// discovered is the provider's discovery document.
type discovered struct {
	oauth    oauth2.Config
	verifier *oidc.IDTokenVerifier
}

// NewProvider checks the settings. The provider is first asked for anything when the
// first user logs in.
func NewProvider(cfg ProviderConfig) (*Provider, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("the console's URL %q: write https://HOST and no more", cfg.URL)
	}
	cfg.URL = u.Scheme + "://" + u.Host
	client := *cfg.Client
	client.Transport = &bounded{cmp.Or(client.Transport, http.DefaultTransport)}
	client.Timeout = answerTimeout
	return &Provider{cfg: cfg, client: &client}, nil
}

// Host is the provider's name for users.
func (p *Provider) Host() string {
	if u, err := url.Parse(p.cfg.Issuer); err == nil {
		return u.Host
	}
	return p.cfg.Issuer
}

// discover asks the provider for its addresses. Concurrent logins wait for
// one answer.
func (p *Provider) discover(ctx context.Context) (*discovered, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.discovered != nil {
		return p.discovered, nil
	}
	provider, err := oidc.NewProvider(ctx, p.cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("ask the identity provider for its addresses: %w", err)
	}
	at := provider.Endpoint()
	for what, address := range map[string]string{"authorization_endpoint": at.AuthURL, "token_endpoint": at.TokenURL} {
		if !private(address) {
			return nil, fmt.Errorf("the identity provider's %s is %q: that is not https", what, address)
		}
	}
	p.discovered = &discovered{
		oauth: oauth2.Config{
			ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: at, RedirectURL: p.cfg.URL + Callback,
			Scopes: append([]string{oidc.ScopeOpenID}, slices.DeleteFunc(slices.Clone(p.cfg.Scopes), func(s string) bool { return s == oidc.ScopeOpenID })...),
		},
		verifier: provider.Verifier(&oidc.Config{ClientID: p.cfg.ClientID}),
	}
	return p.discovered, nil
}

// private reports whether a connection to an address is confidential: it uses TLS, or
// does not leave this machine.
func private(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && netaddr.IsLoopback(u.Hostname())
}

var (
	// ErrNotBegun: a callback from the provider for a login that did not begin in this
	// browser, or too long ago.
	ErrNotBegun = errors.New("this login was not begun here, or more than ten minutes ago, or in another tab after that")
	// ErrRefused: the provider has not logged the user in.
	ErrRefused = errors.New("the identity provider has not logged you in")
)

// Begin returns where the user logs in. The browser keeps the data to check the
// callback.
func (p *Provider) Begin(c Cookies, w http.ResponseWriter, r *http.Request, to string) (string, error) {
	at, err := p.discover(oidc.ClientContext(r.Context(), p.client))
	if err != nil {
		return "", err
	}
	f := newFlow(to)
	c.set(w, c.name(r, "login"), f.String(), int(flowTimeout.Seconds()), http.SameSiteLaxMode)
	return at.oauth.AuthCodeURL(f.state, oidc.Nonce(f.nonce), oauth2.S256ChallengeOption(f.verifier)), nil
}

// End returns the token of a user who returns from the provider, and the page to
// redirect to. A login is ended once.
//
// Errors: ErrNotBegun, ErrRefused, and errors of the provider.
func (p *Provider) End(c Cookies, w http.ResponseWriter, r *http.Request) (token, to string, err error) {
	kept, err := r.Cookie(c.name(r, "login"))
	if err != nil {
		return "", "/", ErrNotBegun
	}
	c.set(w, kept.Name, "", 0, http.SameSiteLaxMode)
	f, ok := parseFlow(kept.Value)
	q := r.URL.Query()
	if !ok || !f.begun(q.Get("state")) {
		return "", "/", ErrNotBegun
	}
	if q.Get("error") != "" {
		return "", f.to, fmt.Errorf("%w: %.200q %.500q", ErrRefused, q.Get("error"), q.Get("error_description"))
	}
	ctx := oidc.ClientContext(r.Context(), p.client)
	at, err := p.discover(ctx)
	if err != nil {
		return "", f.to, err
	}
	answer, err := at.oauth.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(f.verifier))
	if err != nil {
		return "", f.to, fmt.Errorf("ask the identity provider for a token: %w", err)
	}
	raw, _ := answer.Extra("id_token").(string)
	id, err := at.verifier.Verify(ctx, raw)
	switch {
	case err != nil:
		return "", f.to, fmt.Errorf("check the identity provider's ID token: %w", err)
	case id.Nonce != f.nonce:
		return "", f.to, errors.New("the identity provider's ID token is for another login (nonce)")
	case p.cfg.IDToken:
		return raw, f.to, nil
	}
	return answer.AccessToken, f.to, nil
}

// bounded limits the size of a response.
type bounded struct{ http.RoundTripper }

func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}
