package awssdk

import (
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// nobody are errors of credentials that count for nothing, whatever the request.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/CommonErrors.html
var nobody = []string{
	"UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException", "InvalidSignatureException",
	"IncompleteSignature", "IncompleteSignatureException", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "RequestExpired",
}

// NoAnswer says whether an error is that of the service or of the way to it, and not
// of what was asked for: it wants less, fails, cannot be reached, or does not know
// the caller. That the caller may not do one thing is no such error.
func NoAnswer(err error) bool {
	if retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err) == aws.TrueTernary {
		return true
	}
	if http, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && http.HTTPStatusCode() >= 500 {
		return true
	}
	api, answered := errors.AsType[smithy.APIError](err)
	return !answered || slices.Contains(nobody, api.ErrorCode())
}

// denials are the codes of errors that say that the caller may not do something.
var denials = []string{"AccessDenied", "AccessDeniedException", "NotAuthorized"}

// Denied reports whether a policy does not allow a request.
func Denied(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && slices.Contains(denials, api.ErrorCode())
}
