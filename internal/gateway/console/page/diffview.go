package page

import (
	"net/http"
	"time"

	"github.com/stelehq/stele/internal/gateway/console/login"
)

// diffCookie stores whether differences are shown side by side. The scripts write it as well.
const diffCookie = "stele-diff"

const (
	diffSplit   = "split"
	diffUnified = "unified"
)

// SplitDiff reports whether the page shows values before and after a change side by side: the query
// says so, or the browser's choice.
func (v *Request) SplitDiff() bool {
	if q := v.Query("diff"); q != "" {
		return q == diffSplit
	}
	c, err := v.R.Cookie(diffCookie)
	return err == nil && c.Value == diffSplit
}

// keepDiffView stores the choice that the query has; secure is set if the browser uses TLS.
func (v *Request) keepDiffView(secure bool) {
	if q := v.Query("diff"); q == diffSplit || q == diffUnified {
		http.SetCookie(v.W, &http.Cookie{
			Name: diffCookie, Value: q, Path: "/", MaxAge: int((365 * 24 * time.Hour).Seconds()), Secure: secure, SameSite: http.SameSiteStrictMode,
		})
	}
}

// DiffViewPath is this page with the differences in another view, which the browser then keeps.
func (v *Request) DiffViewPath(split bool) string {
	q := v.R.URL.Query()
	q.Set("diff", diffUnified)
	if split {
		q.Set("diff", diffSplit)
	}
	return login.LocalPath(v.R.URL.Path + "?" + q.Encode())
}
