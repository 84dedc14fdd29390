package page

import (
	"errors"
	"net/http"

	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/reason"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrMethod: the page does not accept the method.
var ErrMethod = errors.New("the page does not accept this method")

// Problem is an error as a page shows it.
type Problem struct {
	Status  int
	Title   string
	Message string // where and why, in the gateway's words; empty for none
	Advice  string
}

// ProblemOf returns how an error is shown.
func ProblemOf(err error) Problem {
	switch {
	case errors.Is(err, ErrNotFound):
		return noSuchPage
	case errors.Is(err, ErrMethod):
		return Problem{http.StatusMethodNotAllowed, "This page does not accept that", "", "Go back and use the page's own buttons."}
	}
	s, ok := status.FromError(err)
	if !ok {
		return Problem{http.StatusInternalServerError, "The console failed", "", "The gateway's log has the details. Try again; if the error persists, contact the operators."}
	}
	p := Problem{http.StatusInternalServerError, "The gateway failed", Message(err), "Try again; if the error persists, contact the operators."}
	switch s.Code() {
	case codes.InvalidArgument:
		p.Status, p.Title, p.Advice = http.StatusBadRequest, "Invalid request", "Fix it and try again."
	case codes.OutOfRange:
		p.Status, p.Title, p.Advice = http.StatusNotFound, "No such revision or time", "Choose a revision or time that the history has, or go to the newest state."
	case codes.NotFound:
		p.Status, p.Title, p.Advice = http.StatusNotFound, "Not found", "The key is not set at this revision, or never was. Its history shows more."
	case codes.FailedPrecondition, codes.AlreadyExists:
		p.Status, p.Title, p.Advice = http.StatusConflict, "Not possible in the current state", "Look at the current state and decide again."
		if reason.Of(err) == reason.TenantNotServed {
			return noSuchPage
		}
	case codes.Aborted:
		p.Status, p.Title, p.Advice = http.StatusConflict, "Another write was faster", "Try again."
	case codes.PermissionDenied:
		return noSuchPage
	case codes.Unauthenticated:
		p.Status, p.Title, p.Advice = http.StatusUnauthorized, "Your session has ended", "Log in again."
	case codes.ResourceExhausted:
		p.Status, p.Title, p.Advice = http.StatusTooManyRequests, "Over the limit", "Wait a little, or ask for less."
	case codes.Unavailable:
		p.Status, p.Title, p.Advice = http.StatusServiceUnavailable, "The gateway is unavailable", "Try again in a few seconds."
	case codes.DeadlineExceeded:
		p.Status, p.Title, p.Advice = http.StatusGatewayTimeout, "The gateway timed out", "The outcome is unknown: look at the history before you try again."
	}
	return p
}

// noSuchPage is also the answer for pages that a user may not see: it does not reveal
// whether they exist.
var noSuchPage = Problem{http.StatusNotFound, "No such page", "The page does not exist, or you do not have access to it.", "Check the address, or log in as another user."}

// Message is an error in the gateway's words, which can quote other users' text.
func Message(err error) string { return format.Visible(status.Convert(err).Message()) }

// Detail finds a detail of an error from the gateway.
func Detail[T any](err error) (d T, ok bool) {
	for _, any := range status.Convert(err).Details() {
		if d, ok := any.(T); ok {
			return d, true
		}
	}
	return d, false
}

// MovedOn reports whether something was committed since a form was made, or the ledger was
// restored from a backup.
func MovedOn(err error) bool {
	why := reason.Of(err)
	return why == reason.PreconditionFailed || why == reason.HistoryChanged
}

// BadField reports whether an error is about what the user typed: the page shows it next
// to the form, with the input kept.
func BadField(err error) bool {
	code := status.Code(err)
	return code == codes.InvalidArgument || code == codes.OutOfRange || code == codes.NotFound
}
