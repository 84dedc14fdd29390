package fakeaws_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/go-json-experiment/json"
	"github.com/stelehq/stele/internal/projector/fakeaws"
)

const (
	apiPutEvents  = "https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html"
	apiEntry      = "https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html"
	apiResult     = "https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html"
	entrySize     = "https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size"
	apiPutRule    = "https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html"
	apiPutTargets = "https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutTargets.html"
)

func startEvents(t *testing.T) (*fakeaws.Server, *eventbridge.Client) {
	t.Helper()
	s, _ := start(t)
	return s, eventbridge.NewFromConfig(s.Config())
}

func entry(detail string) types.PutEventsRequestEntry {
	return types.PutEventsRequestEntry{Source: aws.String("src"), DetailType: aws.String("type"), Detail: &detail}
}

func TestPutEvents_Requests(t *testing.T) {
	s, c := startEvents(t)
	s.SetLimits(fakeaws.Limits{EventBytes: 1000})
	// 7 bytes of source and type, and the detail.
	sized := func(n int) types.PutEventsRequestEntry { return entry(`{"a":"` + strings.Repeat("x", n-7-8) + `"}`) }
	timed := sized(986)
	timed.Time = aws.Time(time.Now())
	for what, c2 := range map[string]struct {
		source  string
		entries []types.PutEventsRequestEntry
		want    string
	}{
		"ten":                   {apiPutEvents, slices.Repeat([]types.PutEventsRequestEntry{entry(`{}`)}, 10), ""},
		"eleven":                {apiPutEvents, slices.Repeat([]types.PutEventsRequestEntry{entry(`{}`)}, 11), "ValidationException"},
		"none":                  {apiPutEvents, []types.PutEventsRequestEntry{}, "ValidationException"},
		"below the limit":       {entrySize, []types.PutEventsRequestEntry{sized(500), sized(499)}, ""},
		"at the limit":          {entrySize, []types.PutEventsRequestEntry{sized(500), sized(500)}, "ValidationException"},
		"14 bytes for the time": {entrySize, []types.PutEventsRequestEntry{timed}, "ValidationException"},
		"no entry is complete":  {apiEntry, []types.PutEventsRequestEntry{{Source: aws.String("src")}}, "ValidationException"},
	} {
		if _, err := c.PutEvents(t.Context(), &eventbridge.PutEventsInput{Entries: c2.entries}); code(err) != c2.want {
			t.Errorf("%s: %v, want %q (%s)", what, err, c2.want, c2.source)
		}
	}
	if n := len(s.Buses.Events()); n != 12 {
		t.Errorf("%d events came", n)
	}
}

func TestPutEvents_Entries(t *testing.T) {
	s, c := startEvents(t)
	nested := func(levels int) string {
		return strings.Repeat(`{"a":`, levels-1) + `{}` + strings.Repeat(`}`, levels-1)
	}
	typed := func(n int) types.PutEventsRequestEntry {
		e := entry(`{}`)
		e.DetailType = aws.String(strings.Repeat("é", n))
		return e
	}
	from := func(source string) types.PutEventsRequestEntry {
		e := entry(`{}`)
		e.Source = &source
		return e
	}
	for what, c2 := range map[string]struct {
		source string
		entry  types.PutEventsRequestEntry
		want   string
	}{
		"as it should be":        {apiEntry, entry(`{"a":[1,{}]} `), ""},
		"no source":              {apiEntry, types.PutEventsRequestEntry{DetailType: aws.String("t"), Detail: aws.String("{}")}, "InvalidArgument"},
		"no type":                {apiEntry, types.PutEventsRequestEntry{Source: aws.String("t"), Detail: aws.String("{}")}, "InvalidArgument"},
		"no detail":              {apiEntry, types.PutEventsRequestEntry{Source: aws.String("t"), DetailType: aws.String("t")}, "InvalidArgument"},
		"longest type":           {apiEntry, typed(128), ""},
		"type too long":          {apiEntry, typed(129), "InvalidArgument"},
		"a source of AWS's own":  {apiResult, from("aws.ec2"), "NotAuthorizedForSourceException"},
		"a list":                 {apiEntry, entry(`[]`), "MalformedDetail"},
		"no JSON":                {apiEntry, entry(`{"a"}`), "MalformedDetail"},
		"two objects":            {apiEntry, entry(`{}{}`), "MalformedDetail"},
		"1,000 levels":           {apiPutEvents, entry(nested(1000)), ""},
		"more than 1,000 levels": {apiPutEvents, entry(nested(1001)), "MalformedDetail"},
		"the largest integer":    {apiPutEvents, entry(`{"a":9223372036854775807}`), ""},
		"an integer too large":   {apiPutEvents, entry(`{"a":9223372036854775808}`), "MalformedDetail"},
	} {
		out, err := c.PutEvents(t.Context(), &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{entry(`{}`), c2.entry}})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got := aws.ToString(out.Entries[1].ErrorCode); got != c2.want || (got == "") != (out.FailedEntryCount == 0) || aws.ToString(out.Entries[0].EventId) == "" {
			t.Errorf("%s: %+v, want %q (%s)", what, out.Entries, c2.want, c2.source)
		}
	}
	first := s.Buses.Events()[0]
	if first.Source != "src" || first.DetailType != "type" || string(first.Detail) != "{}" || first.Bus != "default" {
		t.Errorf("the first event is %+v", first)
	}
}

func TestPutEvents_Faults(t *testing.T) {
	s, c := startEvents(t)
	s.SetFaults(fakeaws.Faults{FailedEntries: 0.5, Poison: func(e fakeaws.Event) string {
		if string(e.Detail) == `{"bad":1}` {
			return "InternalFailure"
		}
		return ""
	}})
	pending := map[string]bool{}
	for i := range 100 {
		pending[fmt.Sprintf(`{"n":%d}`, i)] = true
	}
	for len(pending) > 0 {
		entries := []types.PutEventsRequestEntry{entry(`{"bad":1}`)}
		for detail := range pending {
			if entries = append(entries, entry(detail)); len(entries) == 10 {
				break
			}
		}
		out, err := c.PutEvents(t.Context(), &eventbridge.PutEventsInput{Entries: entries})
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		for i, r := range out.Entries {
			if r.ErrorCode != nil {
				failed++
			} else {
				delete(pending, *entries[i].Detail)
			}
		}
		if int(out.FailedEntryCount) != failed || failed == 0 {
			t.Fatalf("%d entries failed, %d were counted", failed, out.FailedEntryCount)
		}
	}
	if n := len(s.Buses.Events()); n != 100 {
		t.Errorf("%d events came", n)
	}
}

func TestDelivery(t *testing.T) {
	_, c := startEvents(t)
	var refused atomic.Bool
	came := make(chan string, 10)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refused.CompareAndSwap(false, true) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, _ := io.ReadAll(r.Body)
		came <- string(body)
	}))
	defer target.Close()

	rule := &eventbridge.PutRuleInput{Name: aws.String("r"), EventPattern: aws.String(`{"detail":{"n":[{"numeric":[">",1]}]}}`), EventBusName: aws.String("bus")}
	targets := &eventbridge.PutTargetsInput{Rule: aws.String("r"), EventBusName: aws.String("bus"), Targets: []types.Target{{Id: aws.String("t"), Arn: &target.URL}}}
	if _, err := c.CreateEventBus(t.Context(), &eventbridge.CreateEventBusInput{Name: aws.String("bus")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutTargets(t.Context(), targets); code(err) != "ResourceNotFoundException" {
		t.Errorf("targets of no rule: %v (%s)", err, apiPutTargets)
	}
	if _, err := c.PutRule(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutTargets(t.Context(), targets); err != nil {
		t.Fatal(err)
	}
	in := &eventbridge.PutEventsInput{}
	for _, detail := range []string{`{"n":1}`, `{"n":2}`} {
		for _, bus := range []string{"", "arn:aws:events:us-east-1:123456789012:event-bus/bus"} {
			e := entry(detail)
			e.EventBusName, e.Time, e.Resources = &bus, aws.Time(time.Unix(1_700_000_000, 0)), []string{"r1"}
			in.Entries = append(in.Entries, e)
		}
	}
	out, err := c.PutEvents(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(<-came), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"version": "0", "id": *out.Entries[3].EventId, "detail-type": "type", "source": "src", "account": fakeaws.Account,
		"time": "2023-11-14T22:13:20Z", "region": fakeaws.Region, "resources": []any{"r1"}, "detail": map[string]any{"n": 2.0},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("delivered was\n%v, want\n%v (https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html)", got, want)
	}
	select {
	case more := <-came:
		t.Errorf("it also delivered: %s", more)
	default:
	}
}

func TestUndelivered(t *testing.T) {
	s, c := startEvents(t)
	var attempts atomic.Int32
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		attempts.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer target.Close()
	if _, err := c.PutRule(t.Context(), &eventbridge.PutRuleInput{Name: aws.String("r"), EventPattern: aws.String(`{"source":["src"]}`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutTargets(t.Context(), &eventbridge.PutTargetsInput{Rule: aws.String("r"), Targets: []types.Target{{Id: aws.String("t"), Arn: &target.URL}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutEvents(t.Context(), &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{entry(`{}`)}}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); s.Buses.Undelivered() == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := attempts.Load(); n != 6 {
		t.Errorf("it was given up after %d attempts", n)
	}
}

func TestRules(t *testing.T) {
	_, c := startEvents(t)
	for what, c2 := range map[string]struct {
		name, pattern, want string
	}{
		"name":            {"a b", `{"a":["b"]}`, "ValidationException"},
		"long name":       {strings.Repeat("n", 65), `{"a":["b"]}`, "ValidationException"},
		"no pattern":      {"r", ``, "ValidationException"},
		"no JSON":         {"r", `{"a":`, "InvalidEventPatternException"},
		"no list":         {"r", `{"a":"b"}`, "InvalidEventPatternException"},
		"as it should be": {"r", `{"a":["b"]}`, ""},
	} {
		in := &eventbridge.PutRuleInput{Name: &c2.name}
		if c2.pattern != "" {
			in.EventPattern = &c2.pattern
		}
		if _, err := c.PutRule(t.Context(), in); code(err) != c2.want {
			t.Errorf("%s: %v, want %q (%s)", what, err, c2.want, apiPutRule)
		}
	}
	targets := &eventbridge.PutTargetsInput{Rule: aws.String("r")}
	for i := range 6 {
		targets.Targets = append(targets.Targets, types.Target{Id: aws.String(fmt.Sprint(i)), Arn: aws.String("http://localhost")})
	}
	if _, err := c.PutTargets(t.Context(), targets); code(err) != "LimitExceededException" {
		t.Errorf("six targets: %v (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html)", err)
	}
}
