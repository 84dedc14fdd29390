package eventbridge

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/smithy-go"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
	"github.com/stelehq/stele/schemas/events"
)

// errUnknown is the outcome of a write that does not have one yet.
var errUnknown = errors.New("the event was not sent")

// Write puts an event for each write on the bus.
func (s *sink) Write(ctx context.Context, writes []projector.Write) ([]error, error) {
	if s.perTenant {
		return awssdk.ByTenant(ctx, writes, s.write)
	}
	return s.write(ctx, writes)
}

func (s *sink) write(ctx context.Context, writes []projector.Write) ([]error, error) {
	if err := s.checkBus(ctx); err != nil {
		return nil, err
	}
	results := make([]error, len(writes))
	all := make([]event, 0, len(writes))
	for i, w := range writes {
		e, err := s.event(i, w)
		if err != nil {
			results[i] = projector.Refuse("%v", err)
			continue
		}
		results[i] = errUnknown
		all = append(all, e)
	}
	for _, batch := range batches(all) {
		if err := s.put(ctx, batch, results); err != nil {
			return unanswered(all, results, err)
		}
	}
	return results, nil
}

// unanswered is the outcome of the writes when the bus stopped answering. Accepted
// events are not sent again.
func unanswered(all []event, results []error, reason error) ([]error, error) {
	open := 0
	for _, e := range all {
		if errors.Is(results[e.write], errUnknown) {
			results[e.write] = reason
			open++
		}
	}
	if open == len(all) {
		return nil, reason
	}
	return results, nil
}

// put sends one request, or several if EventBridge rejects all of it because of some
// entries: it finds those by halving. It returns an error if the bus does not answer or
// throttles, and leaves writes with an unknown outcome unchanged.
func (s *sink) put(ctx context.Context, batch []event, results []error) error {
	if len(batch) == 0 {
		return nil
	}
	entries := make([]types.PutEventsRequestEntry, len(batch))
	for i, e := range batch {
		entries[i] = e.entry
	}
	out, err := s.client.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: entries, EndpointId: s.endpoint})
	switch {
	case err != nil && !refusesRequest(err):
		return fmt.Errorf("put events on bus %s: %w", s.bus, err)
	case err != nil && len(batch) == 1:
		return s.refused(ctx, batch[0], err.Error(), results)
	case err != nil:
		half := len(batch) / 2
		if err := s.put(ctx, batch[:half], results); err != nil {
			return err
		}
		return s.put(ctx, batch[half:], results)
	case len(out.Entries) != len(batch):
		return fmt.Errorf("put events on bus %s: %d results for %d events", s.bus, len(out.Entries), len(batch))
	}
	if throttled(out.Entries) {
		return fmt.Errorf("put events on bus %s: %s", s.bus, failure(out.Entries[0]))
	}
	for i, r := range out.Entries {
		e := batch[i]
		switch {
		case r.ErrorCode == nil:
			results[e.write] = nil
		case refusals[*r.ErrorCode]:
			if err := s.refused(ctx, e, failure(r), results); err != nil {
				return err
			}
		default:
			results[e.write] = fmt.Errorf("put the event on bus %s: %s", s.bus, failure(r))
		}
	}
	return nil
}

// refused sends an event that EventBridge does not take once more without its
// value, which is the one thing in it that may be anything.
func (s *sink) refused(ctx context.Context, e event, reason string, results []error) error {
	if len(e.detail.Value) > 0 {
		if bare, err := e.without(events.Refused); err == nil {
			return s.put(ctx, []event{bare}, results)
		}
	}
	results[e.write] = projector.Refuse("bus %s refuses the event: %s", s.bus, reason)
	return nil
}

// refusals are the errors of an entry that is itself invalid. Missing permission and
// failures of AWS are not among them: they end once the cause is fixed.
// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html
var refusals = map[string]bool{
	"InvalidArgument": true,
	"MalformedDetail": true,
}

func failure(r types.PutEventsResultEntry) string {
	return aws.ToString(r.ErrorCode) + ": " + aws.ToString(r.ErrorMessage)
}

// throttled reports whether the bus rejected everything because of too many requests.
func throttled(results []types.PutEventsResultEntry) bool {
	for _, r := range results {
		if aws.ToString(r.ErrorCode) != "ThrottlingException" {
			return false
		}
	}
	return true
}

// refusesRequest reports whether a request was rejected because of its content.
func refusesRequest(err error) bool {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		switch api.ErrorCode() {
		case "ValidationException", "SerializationException", "RequestEntityTooLargeException":
			return true
		}
	}
	response, ok := errors.AsType[*awshttp.ResponseError](err)
	return ok && response.HTTPStatusCode() == http.StatusRequestEntityTooLarge
}
