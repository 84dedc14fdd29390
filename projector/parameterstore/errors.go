package parameterstore

import (
	"errors"
	"fmt"

	"github.com/aws/smithy-go"
	"github.com/stelehq/stele/projector"
	"github.com/stelehq/stele/projector/internal/awssdk"
)

// refusals are the errors of a write that is wrong in itself or in what it meets, and
// what to do. That an account has no room, or that a caller may not write one name,
// is not among them: it gets better without another write.
var refusals = map[string]string{
	"ParameterMaxVersionLimitExceeded":     "the oldest of its 100 versions has a label, so that AWS keeps it and takes no new one: move the label to a newer version, or remove it",
	"HierarchyTypeMismatchException":       "AWS does not change a parameter's type: delete the parameter, and wait 30 seconds",
	"ParameterPatternMismatchException":    "the value does not match the allowed pattern that somebody has given the parameter: remove the pattern, or change the value",
	"HierarchyLevelLimitExceededException": "the name has too many levels: rename the key, or use a shorter layout",
	"InvalidKeyId":                         "KMS has no such key, or it cannot be used: change kms_key in the route, or the key",
	"ValidationException":                  "Parameter Store refuses it",
}

// explain says what was being done, and which errors will never get better.
func explain(doing string, err error) error {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if advice, final := refusals[api.ErrorCode()]; final {
		return projector.Refuse("%s: %s (%s: %s)", doing, advice, api.ErrorCode(), api.ErrorMessage())
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func refused(err error) bool {
	_, ok := errors.AsType[*projector.RefusedError](err)
	return ok
}

// laterError is of a write that is too early, which AWS need not be asked.
type laterError string

func (e laterError) Error() string { return string(e) }

// unanswered says whether an error is the whole call's.
func unanswered(err error) bool {
	_, later := errors.AsType[laterError](err)
	return err != nil && !later && !refused(err) && awssdk.NoAnswer(err)
}
