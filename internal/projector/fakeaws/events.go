package fakeaws

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxEntries    = 10
	maxDetailType = 128  // characters
	maxNesting    = 1000 // levels of JSON in a detail
)

// Event is an event as a target gets it.
type Event struct {
	Version    string         `json:"version"`
	ID         string         `json:"id"`
	DetailType string         `json:"detail-type"`
	Source     string         `json:"source"`
	Account    string         `json:"account"`
	Time       time.Time      `json:"time"`
	Region     string         `json:"region"`
	Resources  []string       `json:"resources"`
	Detail     jsontext.Value `json:"detail"`
	// Bus that it was put on; targets do not get it.
	Bus string `json:"-"`
}

// Events are all accepted events, in order of arrival. Events for a bus that does not
// exist are not among them: AWS accepts and drops them
// (https://github.com/aws/aws-sdk/issues/186).
func (s *Buses) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

type eventEntry struct {
	Source       string
	DetailType   string
	Detail       *string
	EventBusName string
	Resources    []string
	Time         *float64
	TraceHeader  string
}

// size is how EventBridge counts an entry:
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size
func (e eventEntry) size() int {
	n := len(e.Source) + len(e.DetailType)
	if e.Time != nil {
		n += 14
	}
	if e.Detail != nil {
		n += len(*e.Detail)
	}
	for _, r := range e.Resources {
		n += len(r)
	}
	return n
}

// missing is the first member that an entry must have and has not.
func (e eventEntry) missing() string {
	switch {
	case e.Source == "":
		return "Source"
	case e.DetailType == "":
		return "DetailType"
	case e.Detail == nil || *e.Detail == "":
		return "Detail"
	}
	return ""
}

type putEventsIn struct {
	Entries    []eventEntry
	EndpointID string `json:"EndpointId"`
}

type eventResult struct {
	EventID      string `json:"EventId,omitempty"`
	ErrorCode    string `json:",omitempty"`
	ErrorMessage string `json:",omitempty"`
}

type putEventsOut struct {
	FailedEntryCount int
	Entries          []eventResult
}

func (s *Buses) putEvents(in putEventsIn) (*putEventsOut, error) {
	if len(in.Entries) < 1 || len(in.Entries) > maxEntries {
		return nil, invalid("1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have length between 1 and %d, and has %d", maxEntries, len(in.Entries))
	}
	size, complete := 0, false
	for _, e := range in.Entries {
		size += e.size()
		complete = complete || e.missing() == ""
	}
	if size >= cmp.Or(s.limits.EventBytes, 1<<20) {
		return nil, invalid("Total size of the entries in the request is over the limit.")
	}
	if !complete {
		return nil, invalid("No entry has a Source, a DetailType and a Detail.")
	}
	for _, e := range in.Entries {
		if name := busName(e.EventBusName); s.faults.MissingBus && !s.buses[name] {
			return nil, noBus(name)
		}
	}
	out := &putEventsOut{}
	for _, e := range in.Entries {
		event, result := s.accept(e)
		if result.ErrorCode != "" {
			out.FailedEntryCount++
		} else if s.buses[event.Bus] {
			s.events = append(s.events, event)
			s.route(event)
		}
		out.Entries = append(out.Entries, result)
	}
	return out, nil
}

func (s *Buses) accept(e eventEntry) (Event, eventResult) {
	refuse := func(code, format string, args ...any) (Event, eventResult) {
		return Event{}, eventResult{ErrorCode: code, ErrorMessage: fmt.Sprintf(format, args...)}
	}
	if m := e.missing(); m != "" {
		return refuse("InvalidArgument", "Parameter %s is not valid. Reason: %s is a required argument.", m, m)
	}
	if utf8.RuneCountInString(e.DetailType) > maxDetailType {
		return refuse("InvalidArgument", "Parameter DetailType is not valid. Reason: it has more than %d characters.", maxDetailType)
	}
	if strings.HasPrefix(e.Source, "aws.") {
		return refuse("NotAuthorizedForSourceException", "Not authorized for the source.")
	}
	if err := checkDetail(*e.Detail); err != nil {
		return refuse("MalformedDetail", "Detail is malformed: %v", err)
	}
	event := Event{
		Version: "0", ID: newID(), DetailType: e.DetailType, Source: e.Source, Account: Account, Region: Region,
		Time: time.Now().UTC().Truncate(time.Second), Resources: e.Resources, Detail: jsontext.Value(*e.Detail), Bus: busName(e.EventBusName),
	}
	if e.Time != nil {
		event.Time = time.Unix(int64(math.Floor(*e.Time)), 0).UTC()
	}
	if event.Resources == nil {
		event.Resources = []string{}
	}
	if s.faults.Poison != nil {
		if code := s.faults.Poison(event); code != "" {
			return refuse(code, "The fake was configured to reject this event.")
		}
	}
	if happens(s.faults.FailedEntries) {
		if happens(0.5) {
			return refuse("ThrottlingException", "Rate exceeded")
		}
		return refuse("InternalFailure", "The request processing has failed because of an unknown error, exception or failure.")
	}
	return event, eventResult{EventID: event.ID}
}

// checkDetail holds a detail to what AWS says of it: a JSON object, at most 1,000
// levels deep, whose integers fit 64 bits.
func checkDetail(detail string) error {
	d := jsontext.NewDecoder(strings.NewReader(detail))
	if d.PeekKind() != '{' {
		return fmt.Errorf("it is not a JSON object")
	}
	for {
		t, err := d.ReadToken()
		if err != nil {
			return err
		}
		if d.StackDepth() > maxNesting {
			return fmt.Errorf("it has more than %d levels", maxNesting)
		}
		if t.Kind() == '0' && !strings.ContainsAny(t.String(), ".eE") {
			if _, err := strconv.ParseInt(t.String(), 10, 64); err != nil {
				return fmt.Errorf("%.40s does not fit 64 bits", t.String())
			}
		}
		if d.StackDepth() == 0 {
			break
		}
	}
	if rest := bytes.TrimSpace([]byte(detail[d.InputOffset():])); len(rest) > 0 {
		return fmt.Errorf("something follows the object")
	}
	return nil
}

func busName(nameOrARN string) string {
	_, name, _ := strings.Cut(nameOrARN, "event-bus/")
	return cmp.Or(name, nameOrARN, "default")
}

// newID is a random UUID.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
