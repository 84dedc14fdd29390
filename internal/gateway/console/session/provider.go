package session

import (
	"errors"
	"net/http"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/login"
	"github.com/stelehq/stele/internal/gateway/console/page"
)

// BeginAtProvider redirects to the identity provider.
func (p *Pages) BeginAtProvider(v *page.View) error {
	if p.provider == nil {
		return page.ErrNotFound
	}
	if !p.tries.Allow(v.R) {
		return errTries
	}
	to := login.LocalPath(v.R.FormValue("to"))
	at, err := p.provider.Begin(v.Cookies, v.W, v.R, to)
	if err != nil {
		v.Log.Error("cannot redirect a user to the identity provider", "error", err)
		return p.askFor(v, http.StatusBadGateway, to, "The identity provider is unreachable. The gateway's log has the details.")
	}
	http.Redirect(v.W, v.R, at, http.StatusSeeOther)
	return nil
}

// EndAtProvider handles the callback from the identity provider.
func (p *Pages) EndAtProvider(v *page.View) error {
	if p.provider == nil {
		return page.ErrNotFound
	}
	if !p.tries.Allow(v.R) {
		return errTries
	}
	token, to, err := p.provider.End(v.Cookies, v.W, v.R)
	switch {
	case errors.Is(err, login.ErrNotBegun), errors.Is(err, login.ErrRefused):
		return p.askFor(v, http.StatusUnauthorized, to, strings.ToUpper(err.Error()[:1])+err.Error()[1:]+".")
	case err != nil:
		v.Log.Error("a login at the identity provider failed", "error", err)
		return p.askFor(v, http.StatusBadGateway, to, "The login at the identity provider failed. The gateway's log has the details.")
	}
	return p.begin(v, token, to, v.Hop)
}
