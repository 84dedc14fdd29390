package awssdk

import (
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// unidentified are errors of invalid credentials, whatever the request.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/CommonErrors.html
var unidentified = []string{
	"UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException", "InvalidSignatureException",
	"IncompleteSignature", "IncompleteSignatureException", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "RequestExpired",
}

// NoAnswer reports whether an error concerns the service or the connection, and not the
// request: the service throttles, fails, is unreachable, or does not know the caller.
// Missing permission for one operation is not such an error.
func NoAnswer(err error) bool {
	if retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err) == aws.TrueTernary {
		return true
	}
	if http, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && http.HTTPStatusCode() >= 500 {
		return true
	}
	api, answered := errors.AsType[smithy.APIError](err)
	return !answered || slices.Contains(unidentified, api.ErrorCode())
}

// denials are the codes of errors that say that the caller may not do something.
var denials = []string{"AccessDenied", "AccessDeniedException", "NotAuthorized"}

// Denied reports whether a policy does not allow a request.
func Denied(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && slices.Contains(denials, api.ErrorCode())
}
