package page

import (
	"net/http"
	"time"

	"github.com/stelehq/stele/internal/gateway/console/login"
)

// themeCookie stores the choice of the light or the dark color scheme; without it the
// browser decides.
const themeCookie = "stele-theme"

func (v *Request) theme() string {
	if c, err := v.R.Cookie(themeCookie); err == nil && (c.Value == "light" || c.Value == "dark") {
		return c.Value
	}
	return ""
}

// SetTheme stores the choice and redirects to the page that it was made on.
func SetTheme(v *View) error {
	choice := &http.Cookie{
		Name: themeCookie, Value: v.R.FormValue("theme"), Path: "/", MaxAge: int((365 * 24 * time.Hour).Seconds()),
		HttpOnly: true, Secure: v.Cookies.Secure, SameSite: http.SameSiteStrictMode,
	}
	if choice.Value != "light" && choice.Value != "dark" {
		choice.Value, choice.MaxAge = "", -1
	}
	http.SetCookie(v.W, choice)
	return v.Redirect(login.LocalPath(v.R.FormValue("to")))
}
