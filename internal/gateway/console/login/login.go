// Package login authenticates the users of the web console: by a token of theirs, which
// the browser keeps and the gateway checks with every call.
//
// The console is stateless, so that any gateway behind a load balancer accepts a user
// of another one, and a session ends when its token does. A user pastes a token, gets
// one by a login at the identity provider, or, on the machine of "stele up", by a link
// that works once.
package login

import (
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/gateway/identity"
)

// chunk is how much of a token one cookie holds, in bytes: browsers take 4096 with
// its name.
const chunk = 3500

// maxChunks hold the longest token that a gateway looks at.
const maxChunks = (identity.MaxToken + chunk - 1) / chunk

// Cookies are the console's cookies. No script can read them, and no other site makes a
// browser send them.
type Cookies struct {
	// Secure: users connect over TLS. Their cookies are then sent over TLS only, and to
	// the host that set them only.
	Secure bool
}

// Token is the user's token; empty for users who have not logged in.
func (c Cookies) Token(r *http.Request) string {
	var token strings.Builder
	for i := range maxChunks {
		part, err := r.Cookie(c.part(r, i))
		if err != nil || part.Value == "" {
			break
		}
		token.WriteString(part.Value)
	}
	return token.String()
}

// SetToken has the browser keep a token until it is closed.
func (c Cookies) SetToken(w http.ResponseWriter, r *http.Request, token string) {
	for i := range maxChunks {
		n := min(len(token), chunk)
		c.set(w, c.part(r, i), token[:n], 0, http.SameSiteStrictMode)
		token = token[n:]
	}
}

// Clear has the browser forget the token, and a login that was begun.
func (c Cookies) Clear(w http.ResponseWriter, r *http.Request) {
	for i := range maxChunks {
		c.set(w, c.part(r, i), "", 0, http.SameSiteStrictMode)
	}
	c.set(w, c.name(r, "login"), "", 0, http.SameSiteLaxMode)
}

// part names the cookie of a part of the token.
func (c Cookies) part(r *http.Request, i int) string {
	if i == 0 {
		return c.name(r, "session")
	}
	return c.name(r, "session"+strconv.Itoa(i))
}

// name makes cookies' names. With TLS, browsers ensure that they belong to this host.
// Without, there may be more than one console on this machine, and browsers distinguish
// hosts, but not ports.
func (c Cookies) name(r *http.Request, what string) string {
	if c.Secure {
		return "__Host-stele-" + what
	}
	_, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		port = "80"
	}
	return "stele-" + port + "-" + what
}

// set keeps a cookie for so many seconds, 0 for until the browser is closed, and
// forgets one that is empty.
func (c Cookies) set(w http.ResponseWriter, name, value string, seconds int, same http.SameSite) {
	if value == "" {
		seconds = -1
	}
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, Secure: c.Secure, SameSite: same})
}

// LocalPath is a path of the console to redirect to after a login: the one in the link,
// or the first page if that could lead to another site.
func LocalPath(to string) string {
	if len(to) > 2048 || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") {
		return "/"
	}
	for _, b := range []byte(to) {
		if b <= ' ' || b == '\\' || b >= 0x7f {
			return "/"
		}
	}
	return to
}
