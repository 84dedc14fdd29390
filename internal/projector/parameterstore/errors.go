package parameterstore

import (
	"errors"
	"fmt"

	"github.com/aws/smithy-go"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
)

// refusals are the errors of a write that is itself invalid or conflicts with the
// existing parameter, and what to do. Errors of access, of KMS and of the account's
// limits are not among them: they end once the cause is fixed, without another write.
var refusals = map[string]string{
	"ParameterMaxVersionLimitExceeded":     "the oldest of its 100 versions has a label, so that AWS keeps it and takes no new one: move the label to a newer version, or remove it",
	"HierarchyTypeMismatchException":       "AWS does not change a parameter's type: delete the parameter, and wait 30 seconds",
	"ParameterPatternMismatchException":    "the value does not match the parameter's allowed pattern: remove the pattern, or change the value",
	"HierarchyLevelLimitExceededException": "the name has too many levels: rename the key, or use a shorter layout",
	"ValidationException":                  "Parameter Store refuses it",
}

// advice is what to do about errors that a retry heals.
var advice = map[string]string{
	"InvalidKeyId":           "KMS does not know the key, or it is disabled: change kms_key in the route, or the key",
	"AccessDeniedException":  "allow it in the policy of the projector's role",
	"ParameterLimitExceeded": "the account has no room for more parameters: delete some, or set \"tier\" in the sink's settings to advanced or intelligent",
}

// explain adds what was being done, and which errors are permanent.
func explain(doing string, err error) error {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if why, final := refusals[api.ErrorCode()]; final {
		return projector.Refuse("%s: %s (%s: %s)", doing, why, api.ErrorCode(), api.ErrorMessage())
	}
	if what, ok := advice[api.ErrorCode()]; ok {
		return fmt.Errorf("%s: %s: %w", doing, what, err)
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

// unanswered reports whether an error is the whole call's.
func unanswered(err error) bool {
	_, later := errors.AsType[laterError](err)
	return err != nil && !later && !refused(err) && awssdk.NoAnswer(err)
}
