package console

import (
	"cmp"
	"net/http"
	"strconv"

	"github.com/stelehq/stele/internal/gateway/console/page"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// fail responds with an error's page.
func fail(v *page.View, err error) {
	p := page.ProblemOf(err)
	denied := status.Code(err) == codes.PermissionDenied
	if denied && v.Status == nil && v.Load() != nil {
		v.Status = nil // the user does not belong to the tenant
	}
	known := v.Status != nil && (v.Tenant == "" || v.Head != nil)
	why := ""
	if known && denied { // users of the tenant may know that the page exists
		if v.Tenant != "" {
			why = whyDenied(v)
		}
		p = page.Problem{Status: http.StatusForbidden, Title: "Permission denied", Message: page.Message(err), Advice: "Ask an administrator for the permission, or log in as another user."}
	}
	if p.Status == http.StatusInternalServerError {
		v.Log.Error("a page failed", "path", v.R.URL.Path, "error", err)
	}
	if wait := retryAfter(err); wait > 0 {
		v.W.Header().Set("Retry-After", strconv.Itoa(wait))
	}
	content := page.ProblemPage(p, why)
	switch {
	case p.Status == http.StatusUnauthorized:
		err = v.AskToLogIn()
	case known:
		err = v.Show(p.Status, p.Title, nil, content)
	default:
		err = v.ShowBare(p.Status, p.Title, content)
	}
	if err != nil {
		v.Log.Error("an error's page failed", "error", err)
		http.Error(v.W, p.Title, p.Status)
	}
}

// whyDenied is the page that explains why this view was denied.
func whyDenied(v *page.View) string {
	operation, what := "read", v.Query("prefix")
	switch {
	case v.Page == "projections":
		operation, what = "administer", ""
	case v.Page == "reveal":
		operation, what = "reveal", v.Rest
	case v.R.Method == http.MethodPost || v.Page == "delete" || v.Page == "new":
		operation = "write"
	}
	switch v.Page {
	case "keys", "delete":
		what = v.Rest
	case "new":
		what = cmp.Or(v.Query("key"), v.Rest)
	}
	return page.AccessPath(v.Tenant, operation, what)
}

// retryAfter is how many seconds to wait before the next try; 0 if the error does not
// say.
func retryAfter(err error) int {
	info, _ := page.Detail[*errdetails.RetryInfo](err)
	return int((info.GetRetryDelay().AsDuration() + 999_999_999).Seconds())
}
