package page

import (
	"net/http"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Rejection is the error of a write that the form shows, with all input.
type Rejection struct {
	Status int
	// Problem is about the whole form; empty if each error is about a field.
	Problem string
	// Fields are the errors about fields of the request.
	Fields []*errdetails.BadRequest_FieldViolation
}

// RejectionOf returns how a form shows the error of its write. It reports false for an error
// that has a page of its own.
func RejectionOf(err error) (r Rejection, ok bool) {
	r.Status = ProblemOf(err).Status
	switch status.Code(err) {
	case codes.InvalidArgument:
		bad, _ := Detail[*errdetails.BadRequest](err)
		r.Status, r.Fields = http.StatusUnprocessableEntity, bad.GetFieldViolations()
		if len(r.Fields) == 0 {
			r.Problem = Message(err)
		}
	case codes.PermissionDenied:
		r.Status, r.Problem = http.StatusForbidden, Message(err)
	case codes.FailedPrecondition, codes.AlreadyExists:
		r.Problem = Message(err)
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted:
		r.Problem = Message(err) + ". Send it again: it is never written twice."
	default:
		return r, false
	}
	return r, true
}

// Text is the rejection for a form that has no place at its fields, one error per line.
func (r Rejection) Text() string {
	lines := make([]string, 0, len(r.Fields)+1)
	if r.Problem != "" {
		lines = append(lines, r.Problem)
	}
	for _, f := range r.Fields {
		lines = append(lines, f.Field+": "+f.Description)
	}
	return strings.Join(lines, "\n")
}
