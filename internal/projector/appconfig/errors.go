package appconfig

import (
	"errors"
	"fmt"

	"github.com/aws/smithy-go"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
)

var (
	// errMissing: something does not exist that was there before, or was named.
	errMissing = errors.New("AppConfig does not have it")
	// errChanged: a conditional request is based on an older version or deployment.
	errChanged = errors.New("the configuration has changed, or another deployment runs")
	// errBusy: the environment has a deployment that has not finished.
	errBusy = errors.New("the next deployment begins when it has finished")
	// errUnusable: what has the tenant's names is not what the sink needs.
	errUnusable = errors.New("the sink cannot use it")
)

// advice is what to do about errors that a retry heals once that is done.
var advice = map[string]string{
	"AccessDeniedException":         "allow it in the policy of the projector's role",
	"ServiceQuotaExceededException": "delete what is not used any more, or request a higher quota",
	"PayloadTooLargeException":      "route fewer keys to the sink, or lower max_bytes to the account's quota",
}

// explain adds what was being done, and what to do.
func explain(doing string, err error) error {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return fmt.Errorf("%s: %w", doing, err)
	}
	switch code := api.ErrorCode(); {
	case code == "ConflictException":
		return fmt.Errorf("%s: %w: %s", doing, errChanged, api.ErrorMessage())
	case code == "ResourceNotFoundException":
		return fmt.Errorf("%s: %w: %s", doing, errMissing, api.ErrorMessage())
	case advice[code] != "":
		return fmt.Errorf("%s: %s: %w", doing, advice[code], err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// explain also drops what is known of a tenant if something of it is missing.
func (s *Store) explain(t ledger.Tenant, doing string, err error) error {
	err = explain(doing, err)
	if errors.Is(err, errMissing) {
		s.forget(t)
	}
	return err
}

// unanswered reports whether an error is the whole call's.
func unanswered(err error) bool {
	for _, own := range []error{errChanged, errMissing, errBusy, errUnusable} {
		if errors.Is(err, own) {
			return false
		}
	}
	return awssdk.NoAnswer(err)
}
