package console

import (
	"errors"
	"net/http"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/login"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// cookies are those that hold the visitors' tokens.
func (c *Console) cookies() login.Cookies { return login.Cookies{Secure: c.cfg.Secure} }

var errTries = status.Error(codes.ResourceExhausted, "too many tries to log in from your network")

// showLogin is the login page. A link that works once logs its first user in.
func (c *Console) showLogin(v *visit) error {
	to := localPath(v.r.FormValue("to"))
	code := v.r.FormValue("code")
	if code == "" {
		return c.askFor(v, http.StatusOK, to, "")
	}
	if v.r.Method != http.MethodGet || strings.Contains(v.r.Header.Get("Sec-Purpose"), "prefetch") {
		return errMethod // who only looks ahead must not use the link up
	}
	if !c.tries.Allow(v.r) {
		return errTries
	}
	token, err := c.cfg.Link.Use(code)
	if err != nil {
		return err
	}
	if token != "" {
		c.cookies().SetToken(v.w, v.r, token)
		return v.hop(to)
	}
	if c.cookies().Token(v.r) != "" {
		return v.redirect(to)
	}
	return c.askFor(v, http.StatusUnauthorized, to, "This link was used before, or is from a process that has ended. Paste the token instead.")
}

// askFor shows the page to log in.
func (c *Console) askFor(v *visit, status int, to, problem string) error {
	provider := ""
	if c.cfg.Provider != nil {
		provider = c.cfg.Provider.Host()
	}
	return v.plain(status, "Log in", loginPage(to, provider, problem))
}

// login takes a token that the gateway knows the holder of.
func (c *Console) login(v *visit) error {
	if !c.tries.Allow(v.r) {
		return errTries
	}
	return c.enterWith(v, strings.TrimSpace(v.r.PostFormValue("token")), localPath(v.r.PostFormValue("to")), v.redirect)
}

// enterWith starts a session, if the gateway takes the token, and goes where the
// visitor wanted to go.
func (c *Console) enterWith(v *visit, token, to string, onward func(string) error) error {
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == ',' || r == ';' || r == '\\' }) || token == "" {
		return c.askFor(v, http.StatusUnauthorized, to, "A token is one word of letters, digits, dots, - and _.")
	}
	_, err := c.ledger.GetStatus(withToken(v.r.Context(), token, ""), &stelev1.GetStatusRequest{})
	if status.Code(err) == codes.Unauthenticated {
		return c.askFor(v, http.StatusUnauthorized, to, statusMessage(err))
	}
	if err != nil {
		return err
	}
	c.cookies().SetToken(v.w, v.r, token)
	return onward(to)
}

// beginLogin leads to the identity provider.
func (c *Console) beginLogin(v *visit) error {
	if c.cfg.Provider == nil {
		return errNoPlace
	}
	if !c.tries.Allow(v.r) {
		return errTries
	}
	to := localPath(v.r.FormValue("to"))
	at, err := c.cfg.Provider.Begin(c.cookies(), v.w, v.r, to)
	if err != nil {
		c.cfg.Log.Error("cannot lead a visitor to the identity provider", "error", err)
		return c.askFor(v, http.StatusBadGateway, to, "The identity provider cannot be reached now. The gateway's log says why.")
	}
	http.Redirect(v.w, v.r, at, http.StatusSeeOther)
	return nil
}

// endLogin is where the identity provider sends visitors back to.
func (c *Console) endLogin(v *visit) error {
	if c.cfg.Provider == nil {
		return errNoPlace
	}
	if !c.tries.Allow(v.r) {
		return errTries
	}
	token, to, err := c.cfg.Provider.End(c.cookies(), v.w, v.r)
	switch {
	case errors.Is(err, login.ErrNotBegun), errors.Is(err, login.ErrRefused):
		return c.askFor(v, http.StatusUnauthorized, to, strings.ToUpper(err.Error()[:1])+err.Error()[1:]+".")
	case err != nil:
		c.cfg.Log.Error("a login at the identity provider failed", "error", err)
		return c.askFor(v, http.StatusBadGateway, to, "The login at the identity provider failed. The gateway's log says why.")
	}
	return c.enterWith(v, token, to, v.hop)
}

// logout forgets the visitor.
func (c *Console) logout(v *visit) error {
	c.cookies().Clear(v.w, v.r)
	return v.redirect("/login")
}

// hop leads to a path of the console by a page of its own. A browser that comes from
// another site sends no cookies of ours, along all redirects; from this page it does.
func (v *visit) hop(to string) error {
	v.w.Header().Set("Refresh", "0; url="+to)
	return v.plain(http.StatusOK, "One moment", hopPage(to))
}

// elsewhere says whether the visitor has followed a link of another site, and so comes
// without the cookies that they may have.
func elsewhere(r *http.Request) bool {
	from := r.Header.Get("Sec-Fetch-Site")
	return r.Method == http.MethodGet && (from == "cross-site" || from == "same-site") && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// localPath is a path of this console, or its first page: a link must not redirect to
// another site after login.
func localPath(p string) string { return login.LocalPath(p) }
