package secretsmanager

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
)

// finding is what was found at a name.
type finding int

const (
	failed finding = iota
	missing
	scheduled // for deletion
	live
)

// findingOf reads what the error of a request for a secret says of it.
func findingOf(err error) finding {
	if err == nil {
		return live
	}
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return missing
	}
	if e, ok := errors.AsType[*types.InvalidRequestException](err); ok && strings.Contains(e.ErrorMessage(), "deletion") {
		return scheduled
	}
	return failed
}

// errChanged is in the error of a write whose secret is not the one any more that was
// seen.
var errChanged = errors.New("the secret has changed meanwhile")

// advice is what to do about errors that a retry heals. None is among them of a write
// that is wrong in itself: the sink checks names and values before it asks.
var advice = map[string]string{
	"AccessDeniedException":  "allow it in the policy of the projector's role, and of its KMS key",
	"DecryptionFailure":      "enable the secret's KMS key, and allow kms:Decrypt with it",
	"EncryptionFailure":      "enable the KMS key that the route names, and allow kms:GenerateDataKey with it",
	"LimitExceededException": "the account has no room for more secrets, or the secret none for more versions of a day: delete secrets, or wait",
}

// explain adds what was being done, and what to do.
func explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	api, ok := errors.AsType[smithy.APIError](err)
	switch {
	case !ok || errors.Is(err, errChanged):
	case api.ErrorCode() == "ResourceExistsException" || findingOf(err) == missing || findingOf(err) == scheduled:
		return fmt.Errorf("%s: %w", doing, errChanged)
	case advice[api.ErrorCode()] != "":
		return fmt.Errorf("%s: %s: %w", doing, advice[api.ErrorCode()], err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// unanswered reports whether an error is the whole call's.
func unanswered(err error) bool {
	if err == nil || errors.Is(err, errChanged) {
		return false
	}
	if _, refused := errors.AsType[*projector.RefusedError](err); refused {
		return false
	}
	return awssdk.NoAnswer(err)
}
