package page

import (
	"net/http"
	"net/url"

	"github.com/stelehq/stele/internal/gateway/console/login"
)

// AskToLogIn redirects to the login page, which redirects back after the login.
func (v *View) AskToLogIn() error {
	if fromOtherSite(v.R) && v.Cookies.Token(v.R) == "" {
		return v.Hop(login.LocalPath(v.R.URL.RequestURI()))
	}
	to := "/login"
	if v.R.Method == http.MethodGet && v.R.URL.Path != "/" {
		to += "?to=" + url.QueryEscape(v.R.URL.RequestURI())
	}
	return v.Redirect(to)
}

// Hop redirects to a path of the console from a page of its own. A browser that follows
// a link from another site sends no cookies of ours along all redirects; from this page
// it does.
func (v *View) Hop(to string) error {
	v.W.Header().Set("Refresh", "0; url="+to)
	return v.ShowBare(http.StatusOK, "Logging in", hopPage(to))
}

// fromOtherSite reports whether the user followed a link on another site, and so comes
// without cookies.
func fromOtherSite(r *http.Request) bool {
	from := r.Header.Get("Sec-Fetch-Site")
	return r.Method == http.MethodGet && (from == "cross-site" || from == "same-site") && r.Header.Get("Sec-Fetch-Dest") == "document"
}
