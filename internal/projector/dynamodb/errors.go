package dynamodb

import (
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
)

// errNoTable: the table is not there, or not any more.
var errNoTable = errors.New("DynamoDB has no such table: make it, or set \"create\": true in the sink's settings")

func conditionFailed(err error) bool {
	_, ok := errors.AsType[*types.ConditionalCheckFailedException](err)
	return ok
}

// explain adds what was being done, and which errors are permanent.
func (s *sink) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return fmt.Errorf("%s: %w", doing, errNoTable)
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok && slices.Contains(final, api.ErrorCode()) {
		return projector.Refuse("%s: DynamoDB refuses it: %s", doing, api.ErrorMessage())
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// final are errors of a request that is itself invalid, e.g. because attributes of
// other programs make the item too large.
var final = []string{"ValidationException", "ItemCollectionSizeLimitExceededException"}

// noAnswer reports whether an error concerns the table, not the write: DynamoDB
// throttles, does not answer, or does not know the table or the caller. An error that
// the caller may not write an item concerns the item: a policy may name the tenants.
func noAnswer(err error) bool {
	_, refused := errors.AsType[*projector.RefusedError](err)
	return !refused && awssdk.NoAnswer(err)
}
