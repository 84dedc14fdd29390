package client

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Errors of a write, together with the gateway's message. Except for an *UnknownError,
// nothing was written.
var (
	// ErrDenied: the caller may not do this.
	ErrDenied = errors.New("denied")
	// ErrUnauthenticated: the token is not one that the gateway takes.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrNotFound: the requested object does not exist.
	ErrNotFound = errors.New("not found")
	// ErrReadOnly: no gateway that was asked takes writes.
	ErrReadOnly = errors.New("read-only")
	// ErrUnavailable: no gateway could do it in time.
	ErrUnavailable = errors.New("unavailable")
)

// ConflictError lists the expectations that did not hold.
type ConflictError struct {
	Conflicts []Conflict
	err       error
}

// Conflict is an expectation that did not hold.
type Conflict struct {
	// Key is empty when the tenant's head was expected to be another.
	Key string
	// Description states the expected and the found revision.
	Description string
}

func (e *ConflictError) Error() string { return status.Convert(e.err).Message() }
func (e *ConflictError) Unwrap() error { return e.err }

// InvalidError lists the violations of a request.
type InvalidError struct {
	Violations []Violation
	err        error
}

// Violation is one thing that is wrong.
type Violation struct {
	// Field is its path in the request, e.g. "changes[3].key".
	Field       string
	Description string
}

func (e *InvalidError) Error() string {
	if len(e.Violations) == 0 {
		return status.Convert(e.err).Message()
	}
	parts := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		parts[i] = v.Field + ": " + v.Description
	}
	return strings.Join(parts, "; ")
}

func (e *InvalidError) Unwrap() error { return e.err }

// UnknownError: the change set may have been applied, or not. To learn which, commit
// it again with this request id.
type UnknownError struct {
	RequestID string
	err       error
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("whether it was applied is not known: commit it again with the request id %s to learn that: %v", e.RequestID, e.err)
}

func (e *UnknownError) Unwrap() error { return e.err }

// plain is a gateway's answer without gRPC's words around it.
type plain struct{ error }

func (e plain) Error() string {
	st, ok := status.FromError(e.error)
	if !ok {
		return e.error.Error()
	}
	if _, dial, ok := strings.Cut(st.Message(), "Error while dialing: "); ok {
		return "it cannot be reached: " + strings.TrimSuffix(dial, `"`)
	}
	return st.Message()
}

func (e plain) Unwrap() error { return e.error }

// answerError is a gateway's answer as an error of this package.
func answerError(err error) error {
	st := status.Convert(err)
	switch st.Code() {
	case codes.InvalidArgument:
		e := &InvalidError{err: err}
		bad, _ := detail[*errdetails.BadRequest](err)
		for _, v := range bad.GetFieldViolations() {
			e.Violations = append(e.Violations, Violation{v.Field, v.Description})
		}
		return e
	case codes.FailedPrecondition:
		if failed, ok := detail[*errdetails.PreconditionFailure](err); ok {
			e := &ConflictError{err: err}
			for _, v := range failed.Violations {
				c := Conflict{v.Subject, v.Description}
				if v.Type == "HEAD" {
					c.Key = ""
				}
				e.Conflicts = append(e.Conflicts, c)
			}
			return e
		}
		if reason(err) == "READ_ONLY" {
			return fmt.Errorf("%w: %w", ErrReadOnly, plain{err})
		}
	case codes.NotFound:
		return fmt.Errorf("%w: %w", ErrNotFound, plain{err})
	case codes.PermissionDenied:
		return fmt.Errorf("%w: %w", ErrDenied, plain{err})
	case codes.Unauthenticated:
		return fmt.Errorf("%w: %w", ErrUnauthenticated, plain{err})
	case codes.Unavailable, codes.ResourceExhausted:
		return fmt.Errorf("%w: %w", ErrUnavailable, plain{err})
	}
	return plain{err}
}

// reason is the gateway's word for programs.
func reason(err error) string {
	info, _ := detail[*errdetails.ErrorInfo](err)
	return info.GetReason()
}
