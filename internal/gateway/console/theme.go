package console

import (
	"net/http"
	"time"
)

// themeCookie stores the choice of the light or the dark color scheme; without it the
// browser decides.
const themeCookie = "stele-theme"

func (v *visit) theme() string {
	if c, err := v.r.Cookie(themeCookie); err == nil && (c.Value == "light" || c.Value == "dark") {
		return c.Value
	}
	return ""
}

// setTheme keeps the choice and goes back to where it was made.
func (c *Console) setTheme(v *visit) error {
	choice := &http.Cookie{
		Name: themeCookie, Value: v.r.FormValue("theme"), Path: "/", MaxAge: int((365 * 24 * time.Hour).Seconds()),
		HttpOnly: true, Secure: c.cfg.Secure, SameSite: http.SameSiteStrictMode,
	}
	if choice.Value != "light" && choice.Value != "dark" {
		choice.Value, choice.MaxAge = "", -1
	}
	http.SetCookie(v.w, choice)
	return v.redirect(localPath(v.r.FormValue("to")))
}
