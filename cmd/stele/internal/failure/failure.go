// Package failure reports errors to users, and to scripts by an exit code.
package failure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Exit codes.
const (
	OK       = 0
	Other    = 1
	Usage    = 2
	NotFound = 3
	Conflict = 4
	Denied   = 5
	Invalid  = 6
	// Unverified: a proof fails, or the ledger's history is not the one that was seen.
	Unverified = 7
	// Interrupted is the exit code that shells use for a program that Ctrl-C has ended.
	Interrupted = 130
)

// Error is a failure with its exit code and, if known, what to try.
type Error struct {
	Code int
	Err  error
	Try  string
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// With gives an error an exit code.
func With(code int, err error) error { return &Error{Code: code, Err: err} }

// Usagef is a command that was not called as it is meant to be.
func Usagef(format string, args ...any) error { return With(Usage, fmt.Errorf(format, args...)) }

// Try adds what to try to an error. Its exit code stays.
func Try(err error, format string, args ...any) error {
	return &Error{Code: Code(err), Err: err, Try: fmt.Sprintf(format, args...)}
}

// Exit ends the program with a code and without a message: it was printed already.
type Exit int

func (e Exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Code is the exit code for an error.
func Code(err error) int {
	var own *Error
	var exit Exit
	switch {
	case err == nil:
		return OK
	case errors.As(err, &exit):
		return int(exit)
	case errors.As(err, &own):
		return own.Code
	case errors.Is(err, context.Canceled):
		return Interrupted
	}
	switch statusOf(err).Code() {
	case codes.NotFound, codes.OutOfRange:
		return NotFound
	case codes.FailedPrecondition, codes.Aborted, codes.AlreadyExists:
		if reason(err) == historyChanged {
			return Unverified
		}
		return Conflict
	case codes.Unauthenticated, codes.PermissionDenied:
		return Denied
	case codes.InvalidArgument:
		return Invalid
	case codes.ResourceExhausted:
		if strings.Contains(statusOf(err).Message(), tooLarge) {
			return Invalid
		}
	case codes.Internal:
		if notUTF8(err) {
			return Invalid
		}
	case codes.Canceled:
		return Interrupted
	}
	return Other
}

// Lines is the message of an error: what went wrong, then its details, then what to
// try. It is empty without an error, for an Exit and for an interruption by the user.
func Lines(err error) []string {
	if err == nil || errors.As(err, new(Exit)) || Code(err) == Interrupted {
		return nil
	}
	lines := []string{Message(err)}
	for _, d := range statusOf(err).Details() {
		switch d := d.(type) {
		case *errdetails.BadRequest:
			lines = oneEach(lines, d.FieldViolations)
			for _, v := range d.FieldViolations {
				if !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, v.Description) }) {
					lines = detail(lines, v.Field, v.Description)
				}
			}
		case *errdetails.PreconditionFailure:
			for _, v := range d.Violations {
				lines = detail(lines, v.Subject, v.Description)
			}
		}
	}
	if try := hint(err); try != "" {
		lines = append(lines, "try: "+try)
	}
	return lines
}

// oneEach gives each violation a line of its own, if the message ends with all of them in a
// row.
func oneEach(lines []string, all []*errdetails.BadRequest_FieldViolation) []string {
	var each []string
	for _, v := range all {
		each = append(each, v.Field+": "+v.Description)
	}
	before, ok := strings.CutSuffix(lines[0], strings.Join(each, "; "))
	if !ok || len(each) < 2 {
		return lines
	}
	each[0] = before + each[0]
	return append(each, lines[1:]...)
}

// detail adds a violation, unless the message has said it already.
func detail(lines []string, subject, description string) []string {
	if strings.Contains(lines[0], description) {
		return lines
	}
	if subject != "" && !strings.Contains(description, subject) {
		description = subject + ": " + description
	}
	return append(lines, "  "+description)
}

// Message is an error in one line, without gRPC's words around it.
func Message(err error) string {
	st := statusOf(err)
	if st.Code() == codes.OK {
		return err.Error()
	}
	if notUTF8(err) {
		return "an argument is not valid UTF-8: the ledger's texts are"
	}
	msg := connection(st)
	if msg == "" {
		msg = "the gateway answered " + st.Code().String()
	}
	return msg
}

// notUTF8 reports whether a request was not sent because one of its texts is not UTF-8.
func notUTF8(err error) bool {
	st := statusOf(err)
	return st.Code() == codes.Internal && strings.Contains(st.Message(), "invalid UTF-8")
}

func hint(err error) string {
	var own *Error
	if errors.As(err, &own) && own.Try != "" {
		return own.Try
	}
	if reason(err) == historyChanged {
		return "stele verify, and start again without a revision, token or file from before"
	}
	switch st := statusOf(err); st.Code() {
	case codes.ResourceExhausted:
		if strings.Contains(st.Message(), tooLarge) {
			return "split the change set, or read fewer keys at a time"
		}
	case codes.Unavailable:
		return "stele doctor"
	case codes.DeadlineExceeded:
		return "stele doctor, or a longer --timeout"
	case codes.Unauthenticated:
		if strings.HasPrefix(st.Message(), noToken) {
			return "--token-file FILE, or the token in $STELE_TOKEN"
		}
		return "stele token inspect, to see what is wrong with it; stele doctor"
	case codes.Unimplemented:
		return "stele status, to see the gateway's version"
	}
	return ""
}

// historyChanged is the reason of a gateway whose ledger has another commit at a revision
// than the caller has seen.
const historyChanged = "HISTORY_CHANGED"

// reason is the ErrorInfo reason of a gateway's answer; empty without one.
func reason(err error) string {
	for _, d := range statusOf(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}

// LimitDelay is how long to wait where the gateway refuses a call because the tenant
// is over a limit; 0 for every other error.
func LimitDelay(err error) time.Duration {
	st := statusOf(err)
	if st.Code() != codes.ResourceExhausted {
		return 0
	}
	for _, d := range st.Details() {
		if retry, ok := d.(*errdetails.RetryInfo); ok {
			return retry.RetryDelay.AsDuration()
		}
	}
	return 0
}

// statusOf finds the gateway's status behind an error; code OK if there is none.
// status.FromError would put the wrapping errors into its message.
func statusOf(err error) *status.Status {
	var answered interface{ GRPCStatus() *status.Status }
	if errors.As(err, &answered) {
		return answered.GRPCStatus()
	}
	return status.New(codes.OK, "")
}
