package rest

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// invalid is an error of a request that did not reach the gateway.
func invalid(field, description string) error {
	s, err := status.New(codes.InvalidArgument, field+": "+description).WithDetails(
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: description}}})
	if err != nil {
		return fmt.Errorf("%s: %s", field, description)
	}
	return s.Err()
}

var errNoPath = status.Error(codes.NotFound, "there is no such path: GET "+documentPath+" lists them")

func noMethod(method, allowed string) error {
	return status.Errorf(codes.Unimplemented, "%q is nothing that can be done here: %s", shorten(method), allowed)
}

// fail answers with an error: a google.rpc.Status as JSON.
func fail(w http.ResponseWriter, err error) {
	failAs(w, httpStatus(err), err)
}

// failBody answers when a request's body could not be read.
func failBody(w http.ResponseWriter, err error) {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		failAs(w, http.StatusRequestEntityTooLarge, invalid("body", fmt.Sprintf("it has more than %d bytes", tooLarge.Limit)))
		return
	}
	failAs(w, http.StatusRequestTimeout, invalid("body", "it did not come whole, or not in time"))
}

func failAs(w http.ResponseWriter, code int, err error) {
	s := status.Convert(err)
	if s.Code() == codes.Unauthenticated {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if after := retryAfter(s); after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(after))
	}
	body, err := encode(s.Proto())
	if err != nil { // a detail of a kind that this program does not know
		body = []byte(`{"code":13,"message":"internal error"}` + "\n")
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(code)
	w.Write(body)
}

// httpStatus is the best match for an error's code. A precondition in a header is
// answered differently; see setKey.
func httpStatus(err error) int {
	switch status.Code(err) {
	case codes.OK:
		return http.StatusOK
	case codes.InvalidArgument, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.NotFound:
		return http.StatusNotFound
	case codes.FailedPrecondition, codes.Aborted, codes.AlreadyExists:
		return http.StatusConflict
	case codes.ResourceExhausted:
		if retryAfter(status.Convert(err)) == 0 { // what waiting does not help
			return http.StatusRequestEntityTooLarge
		}
		return http.StatusTooManyRequests
	case codes.Canceled:
		return 499 // the caller has disconnected
	case codes.Unimplemented:
		return http.StatusNotImplemented
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// retryAfter is how many seconds the gateway asks a caller to wait; 0 if it does not.
func retryAfter(s *status.Status) int {
	for _, d := range s.Details() {
		if retry, ok := d.(*errdetails.RetryInfo); ok {
			return max(1, int(math.Ceil(retry.RetryDelay.AsDuration().Seconds())))
		}
	}
	return 0
}
