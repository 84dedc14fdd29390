package console

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/a-h/templ"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var errMethod = errors.New("this page cannot do that")

// trouble is an error as a page shows it.
type trouble struct {
	status  int
	title   string // what is wrong
	message string // where and why, in the gateway's words; empty for none
	advice  string // what to do
}

// troubleOf finds the page of an error.
func troubleOf(err error) trouble {
	switch {
	case errors.Is(err, errNoPlace):
		return noSuchPage
	case errors.Is(err, errMethod):
		return trouble{http.StatusMethodNotAllowed, "This page cannot do that", "", "Go back and use the page's own buttons."}
	}
	s, ok := status.FromError(err)
	if !ok {
		return trouble{http.StatusInternalServerError, "Something went wrong here", "", "The gateway's log has the details. Try again; if the error persists, contact the operators."}
	}
	t := trouble{http.StatusInternalServerError, "Something went wrong in the gateway", s.Message(), "Try again; if the error persists, contact the operators."}
	switch s.Code() {
	case codes.InvalidArgument:
		t.status, t.title, t.advice = http.StatusBadRequest, "That is not valid", "Mend it and try again."
	case codes.OutOfRange:
		t.status, t.title, t.advice = http.StatusNotFound, "No such moment", "Choose a moment that the history has, or go to the newest state."
	case codes.NotFound:
		t.status, t.title, t.advice = http.StatusNotFound, "Not found", "The key is not set at this revision, or never was. Its history shows more."
	case codes.FailedPrecondition:
		t.status, t.title, t.advice = http.StatusConflict, "Not as things are", "Look at what is there now and decide again."
		if reasonOf(err) == "TENANT_NOT_SERVED" {
			return noSuchPage
		}
	case codes.Aborted:
		t.status, t.title, t.advice = http.StatusConflict, "Others were faster", "Try again."
	case codes.PermissionDenied:
		return noSuchPage
	case codes.Unauthenticated:
		t.status, t.title, t.advice = http.StatusUnauthorized, "You are not logged in any more", "Log in again."
	case codes.ResourceExhausted:
		t.status, t.title, t.advice = http.StatusTooManyRequests, "Too much at once", "Wait a little, or ask for less."
	case codes.Unavailable:
		t.status, t.title, t.advice = http.StatusServiceUnavailable, "The gateway cannot do that now", "Try again in a few seconds."
	case codes.DeadlineExceeded:
		t.status, t.title, t.advice = http.StatusGatewayTimeout, "That took too long", "Whether it was done is not known: look before you try again."
	}
	return t
}

// noSuchPage is also the answer for pages that a user may not see: it does not reveal
// whether they exist.
var noSuchPage = trouble{http.StatusNotFound, "No such page", "The page does not exist, or you do not have access to it.", "Check the address, or log in as another user."}

// fail answers with an error's page.
func (v *visit) fail(err error) {
	t := troubleOf(err)
	if status.Code(err) == codes.PermissionDenied && v.status == nil && v.load() != nil {
		v.status = nil // the tenant is not the visitor's
	}
	known := v.status != nil && (v.tenant == "" || v.head != nil)
	why := ""
	if known && status.Code(err) == codes.PermissionDenied { // who knows the tenant may hear what they may not
		if v.tenant != "" {
			why = v.whyDenied()
		}
		t = trouble{http.StatusForbidden, "Permission denied", statusMessage(err), "Ask an administrator for the permission, or log in as another user."}
	}
	if t.status == http.StatusUnauthorized {
		v.askToLogIn()
		return
	}
	if t.status == http.StatusInternalServerError {
		v.cfg.Log.Error("a page failed", "path", v.r.URL.Path, "error", err)
	}
	if wait := retryOf(err); wait > 0 {
		v.w.Header().Set("Retry-After", strconv.Itoa(wait))
	}
	answer := v.plain
	if known {
		answer = func(status int, title string, page templ.Component) error { return v.show(status, title, nil, page) }
	}
	if err := answer(t.status, t.title, troublePage(t, why)); err != nil {
		v.cfg.Log.Error("an error's page failed", "error", err)
		http.Error(v.w, t.title, t.status)
	}
}

// statusMessage is an error in the gateway's words.
func statusMessage(err error) string { return status.Convert(err).Message() }

// detail finds a detail of an error from the gateway.
func detail[T any](err error) (d T, ok bool) {
	for _, any := range status.Convert(err).Details() {
		if d, ok := any.(T); ok {
			return d, true
		}
	}
	return d, false
}

func reasonOf(err error) string {
	info, _ := detail[*errdetails.ErrorInfo](err)
	return info.GetReason()
}

// retryOf is how many seconds to wait before trying again; 0 for not known.
func retryOf(err error) int {
	info, _ := detail[*errdetails.RetryInfo](err)
	return int((info.GetRetryDelay().AsDuration() + 999_999_999).Seconds())
}
