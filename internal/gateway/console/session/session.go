// Package session has the pages that start and end a user's session: by a pasted token,
// a link that works once, or a login at the identity provider.
package session

import (
	"net/http"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/login"
	"github.com/stelehq/stele/internal/gateway/console/page"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Pages are the pages of sessions.
type Pages struct {
	provider *login.Provider // nil for none
	link     *login.Link     // nil for none
	tries    login.Tries
}

// New returns the pages. Without a provider, users can only paste a token.
func New(provider *login.Provider, link *login.Link) *Pages {
	return &Pages{provider: provider, link: link}
}

var errTries = status.Error(codes.ResourceExhausted, "too many tries to log in from your network")

// ShowLogin is the login page. A link that works once logs its first user in.
func (p *Pages) ShowLogin(v *page.View) error {
	to := login.LocalPath(v.R.FormValue("to"))
	code := v.R.FormValue("code")
	if code == "" {
		return p.askFor(v, http.StatusOK, to, "")
	}
	if v.R.Method != http.MethodGet || strings.Contains(v.R.Header.Get("Sec-Purpose"), "prefetch") {
		return page.ErrMethod // a prefetch must not use up the link
	}
	if !p.tries.Allow(v.R) {
		return errTries
	}
	token, err := p.link.Use(code)
	if err != nil {
		return err
	}
	if token != "" {
		v.Cookies.SetToken(v.W, v.R, token)
		return v.Hop(to)
	}
	if v.Cookies.Token(v.R) != "" {
		return v.Redirect(to)
	}
	return p.askFor(v, http.StatusUnauthorized, to, "This link was used before, or is from a process that has ended. Paste the token instead.")
}

// askFor shows the login page.
func (p *Pages) askFor(v *page.View, status int, to, problem string) error {
	provider := ""
	if p.provider != nil {
		provider = p.provider.Host()
	}
	return v.ShowBare(status, "Log in", loginPage(to, provider, problem))
}

// LogIn starts a session with a pasted token.
func (p *Pages) LogIn(v *page.View) error {
	if !p.tries.Allow(v.R) {
		return errTries
	}
	return p.begin(v, strings.TrimSpace(v.R.PostFormValue("token")), login.LocalPath(v.R.PostFormValue("to")), v.Redirect)
}

// begin starts a session if the gateway accepts the token, and leads on to the page that
// the user asked for.
func (p *Pages) begin(v *page.View, token, to string, onward func(string) error) error {
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == ',' || r == ';' || r == '\\' }) || token == "" {
		return p.askFor(v, http.StatusUnauthorized, to, "A token is one word of letters, digits, dots, - and _.")
	}
	_, err := v.Ledger.GetStatus(page.WithToken(v.R.Context(), token, ""), &stelev1.GetStatusRequest{})
	if status.Code(err) == codes.Unauthenticated {
		return p.askFor(v, http.StatusUnauthorized, to, page.Message(err))
	}
	if err != nil {
		return err
	}
	v.Cookies.SetToken(v.W, v.R, token)
	return onward(to)
}

// LogOut ends the session.
func LogOut(v *page.View) error {
	v.Cookies.Clear(v.W, v.R)
	return v.Redirect("/login")
}
