package s3

import (
	"errors"
	"fmt"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
)

// errChanged is in the error of a conditional request whose object is not the one any
// more that was seen.
var errChanged = errors.New("the object has changed meanwhile")

// errNoBucket fails whole calls: nothing can be written.
var errNoBucket = errors.New("S3 has no such bucket: create it, or change \"bucket\" in the sink's settings")

// refusals are the errors of a write that is wrong in itself.
var refusals = map[string]string{
	"KeyTooLongError":  "the name is too long: rename the key, or use a shorter prefix",
	"EntityTooLarge":   "the value is too large",
	"MetadataTooLarge": "the metadata is too large",
}

// advice is what to do about errors that a retry heals.
var advice = map[string]string{
	"AccessDenied":          "allow it in the policy of the projector's role, and in those of the bucket and of its KMS key",
	"KMS.DisabledException": "enable the KMS key, or change kms_key in the route",
	"KMS.NotFoundException": "create the KMS key, or change kms_key in the route",
}

// explain adds what was being done, and refuses the key if no retry can succeed.
func explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return fmt.Errorf("%s: %w", doing, err)
	}
	switch code := api.ErrorCode(); {
	case code == "NoSuchBucket":
		return fmt.Errorf("%s: %w", doing, errNoBucket)
	case code == "PreconditionFailed", code == "ConditionalRequestConflict", code == "NoSuchKey":
		return fmt.Errorf("%s: %w", doing, errChanged)
	case refusals[code] != "":
		return projector.Refuse("%s: %s (%s: %s)", doing, refusals[code], code, api.ErrorMessage())
	case advice[code] != "":
		return fmt.Errorf("%s: %s: %w", doing, advice[code], err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// missing reports whether an error says that the object does not exist. A HEAD of S3 answers
// without a code.
func missing(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() == "NoSuchBucket" {
		return false
	}
	response, ok := errors.AsType[*awshttp.ResponseError](err)
	return ok && response.HTTPStatusCode() == http.StatusNotFound
}

// unanswered reports whether an error is the whole call's.
func unanswered(err error) bool {
	if err == nil || errors.Is(err, errChanged) {
		return false
	}
	if _, refused := errors.AsType[*projector.RefusedError](err); refused {
		return false
	}
	return errors.Is(err, errNoBucket) || awssdk.NoAnswer(err)
}
