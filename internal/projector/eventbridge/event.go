package eventbridge

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/change"
	"github.com/stelehq/stele/schemas/events"
)

const (
	// maxEntries and maxRequest are the most entries in a request and the most bytes that
	// they have together: "less than 1 MB", in its smaller meaning.
	// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
	maxEntries = 10
	maxRequest = 1_000_000
	// timeSize is what EventBridge counts for an event's time.
	timeSize = 14
)

// event is a write as an event for the bus.
type event struct {
	write  int // its index
	detail events.ConfigurationChanged
	entry  types.PutEventsRequestEntry
}

func (s *sink) event(i int, w projector.Write) (event, error) {
	e := event{write: i, detail: change.Of(w)}
	e.entry = types.PutEventsRequestEntry{
		EventBusName: aws.String(s.bus),
		Source:       aws.String(s.source),
		DetailType:   aws.String(events.ConfigurationChangedType),
		Time:         aws.Time(w.Time),
	}
	err := e.encode()
	switch {
	case len(e.detail.Value) == 0:
		return e, err
	case err != nil: // it is nested as deep as JSON may be, and is deeper in the event
		return e.without(events.Refused)
	case e.size() > change.MaxEvent:
		return e.without(events.TooLarge)
	}
	return e, nil
}

// without is the event without its value.
func (e event) without(reason events.Omission) (event, error) {
	e.detail = change.Without(e.detail, reason)
	return e, e.encode()
}

func (e *event) encode() error {
	text, err := json.Marshal(e.detail, jsontext.PreserveRawStrings(true))
	if err != nil {
		return fmt.Errorf("encode the event of %s@%d %s: %w", e.detail.Tenant, e.detail.Revision, e.detail.Key, err)
	}
	e.entry.Detail = aws.String(string(text))
	return nil
}

// size is as EventBridge counts it.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size
func (e event) size() int {
	return timeSize + len(*e.entry.Source) + len(*e.entry.DetailType) + len(*e.entry.Detail)
}

// batches splits events into such as fit one request.
func batches(all []event) [][]event {
	var out [][]event
	begin, bytes := 0, 0
	for i, e := range all {
		if i-begin == maxEntries || i > begin && bytes+e.size() >= maxRequest {
			out = append(out, all[begin:i])
			begin, bytes = i, 0
		}
		bytes += e.size()
	}
	return append(out, all[begin:])
}
