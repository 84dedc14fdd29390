package console

import (
	"net/http"
	"strings"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// session is who a visitor is: what the gateway asks for.
type session struct {
	token string
}

// sessionCookie holds the visitor's token. Only this server gets it back.
const sessionCookie = "stele-session"

// session finds out whose request this is; false when nobody has logged in.
func (c *Console) session(r *http.Request) (session, bool) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil || cookie.Value == "" {
		return session{}, false
	}
	return session{token: cookie.Value}, true
}

func (c *Console) setSession(w http.ResponseWriter, token string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: token, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: c.cfg.Secure, SameSite: http.SameSiteStrictMode,
	})
}

// showLogin is the page of people who are not known yet.
func (c *Console) showLogin(v *visit) error {
	return v.plain(http.StatusOK, "Log in", loginPage(localPath(v.r.FormValue("to")), ""))
}

// login takes a token that the gateway knows the holder of.
func (c *Console) login(v *visit) error {
	to := localPath(v.r.FormValue("to"))
	token := strings.TrimSpace(v.r.FormValue("token"))
	if _, err := c.ledger.GetStatus(withToken(v.r.Context(), token, ""), &stelev1.GetStatusRequest{}); err != nil {
		return v.plain(http.StatusUnauthorized, "Log in", loginPage(to, statusMessage(err)))
	}
	c.setSession(v.w, token, 0)
	return v.redirect(to)
}

// logout forgets the visitor.
func (c *Console) logout(v *visit) error {
	c.setSession(v.w, "", -1)
	return v.redirect("/login")
}

// localPath is a path of this console, or its first page: a link must not lead
// somebody elsewhere after they log in.
func localPath(p string) string {
	if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\n\r\t") {
		return "/"
	}
	return p
}
