package eventbridge_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awseventbridge "github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/eventbridge"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"github.com/stelehq/stele/schemas/events"
)

// start starts a fake of AWS and a sink that writes to its default bus.
func start(t testing.TB, settings string) (*fakeaws.Server, projector.Sink) {
	t.Helper()
	aws, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(aws.Close)
	for _, setting := range append(aws.Environ(), "AWS_MAX_ATTEMPTS=1") { // or the SDK hides faults, and waits
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	sink, err := open(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sink.Close(); err != nil {
			t.Error(err)
		}
	})
	return aws, sink
}

func open(ctx context.Context, settings string) (projector.Sink, error) {
	return eventbridge.Open(ctx, projector.Settings{Name: "bus", JSON: []byte(settings)})
}

var (
	quiet = &routes.Route{}
	loud  = &routes.Route{Values: true}
)

// write is a key of acme's that was set.
func write(i int, v ledger.Value, r *routes.Route) projector.Write {
	key := ledger.Key(fmt.Sprintf("tenantconfig/k%d", i))
	return projector.Write{
		Tenant: "acme", Key: key, Value: v, Route: r,
		Revision: ledger.Revision(i + 1), Previous: ledger.Revision(i), Position: i % 3,
		Commit: ledger.IDOf([]byte(key)), Author: "ann", Message: "why",
		Time: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC),
	}
}

// all writes, and fails unless the bus takes everything.
func all(t *testing.T, sink projector.Sink, writes ...projector.Write) {
	t.Helper()
	results, err := sink.Write(t.Context(), writes)
	if err == nil {
		err = errors.Join(results...)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// details are what came on the bus, by key.
func details(t *testing.T, aws *fakeaws.Server) map[string]events.ConfigurationChanged {
	t.Helper()
	out := make(map[string]events.ConfigurationChanged)
	for _, e := range aws.Buses.Events() {
		d, err := events.ParseConfigurationChanged(e.Detail)
		if err != nil {
			t.Fatal(err)
		}
		out[d.Key] = d
	}
	return out
}

func TestSettings(t *testing.T) {
	t.Setenv("AWS_REGION", "us-east-1")
	for settings, want := range map[string]string{
		`{}`:                                    "",
		`{"bus":"b","source":"s","region":"r"}`: "",
		`{"bus":""}`:                            `"bus" is empty`,
		`{"source":""}`:                         `"source"`,
		`{"source":"aws.ssm"}`:                  `"aws."`,
		`{"buss":"b"}`:                          "buss",
	} {
		if _, err := open(t.Context(), settings); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", settings, err, want)
		}
	}
}

// EventBridge takes events for a bus that is not there, and drops them.
func TestWrite_MissingBus(t *testing.T) {
	server, sink := start(t, `{"bus":"stele"}`)
	writes := []projector.Write{write(0, "1", quiet)}
	if _, err := sink.Write(t.Context(), writes); err == nil || !strings.Contains(err.Error(), `event bus "stele" does not exist in us-east-1`) {
		t.Fatalf("%v", err)
	}
	if server.Calls("PutEvents") != 0 {
		t.Fatal("events were put on it")
	}
	client := awseventbridge.NewFromConfig(server.Config())
	if _, err := client.CreateEventBus(t.Context(), &awseventbridge.CreateEventBusInput{Name: aws.String("stele")}); err != nil {
		t.Fatal(err)
	}
	all(t, sink, writes...)
	all(t, sink, writes...)
	if e := server.Buses.Events(); len(e) != 2 || e[0].Bus != "stele" {
		t.Errorf("%v came", e)
	}
	if n := server.Calls("DescribeEventBus"); n != 2 {
		t.Errorf("the bus was looked for %d times, not once until it was there, and once more", n)
	}
}

// A substitute for AWS answers that the bus does not exist; that is not a fault of the
// events.
func TestWrite_MissingBusAnswered(t *testing.T) {
	server, sink := start(t, `{"bus":"stele"}`)
	server.SetFaults(fakeaws.Faults{MissingBus: true, Denied: []string{"DescribeEventBus"}})
	writes := []projector.Write{write(0, "1", quiet)}
	if _, err := sink.Write(t.Context(), writes); err == nil || !strings.Contains(err.Error(), "ResourceNotFoundException") {
		t.Fatalf("%v", err)
	}
	client := awseventbridge.NewFromConfig(server.Config())
	if _, err := client.CreateEventBus(t.Context(), &awseventbridge.CreateEventBusInput{Name: aws.String("stele")}); err != nil {
		t.Fatal(err)
	}
	all(t, sink, writes...)
}

// A bus of another account usually allows PutEvents alone: that is a warning.
func TestOpen_DescribeEventBusIsOptional(t *testing.T) {
	const bus = "arn:aws:events:us-east-1:210987654321:event-bus/default"
	server, sink := start(t, `{"bus":"`+bus+`"}`)
	server.SetFaults(fakeaws.Faults{Denied: []string{"DescribeEventBus"}})
	warnings := sink.(projector.Warner).Warnings
	if w := warnings(); len(w) != 0 {
		t.Errorf("before it was tried: %v", w)
	}
	all(t, sink, write(0, "1", quiet), write(1, "1", quiet))
	if e := server.Buses.Events(); len(e) != 2 {
		t.Errorf("%d events came", len(e))
	}
	if w := warnings(); len(w) != 1 || !strings.Contains(w[0], "events:DescribeEventBus on bus "+bus) {
		t.Errorf("warnings are %v", w)
	}
}

func TestWrite_AfterTheDeadline(t *testing.T) {
	server, sink := start(t, `{}`)
	all(t, sink, write(0, "1", quiet))
	before := server.Calls("PutEvents")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sink.Write(ctx, []projector.Write{write(1, "1", quiet)}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if server.Calls("PutEvents") != before {
		t.Error("events were put")
	}

	// A bus that does not answer is not waited for any longer, either.
	server.SetFaults(fakeaws.Faults{Delay: time.Hour})
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := sink.Write(ctx, []projector.Write{write(1, "1", quiet)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestWrite_GlobalEndpoint(t *testing.T) {
	server, sink := start(t, `{"endpoint_id":"abcde.veo"}`)
	var requests []string
	server.SetFaults(fakeaws.Faults{Policy: func(_ fakeaws.Caller, operation string, request []byte) bool {
		if operation == "PutEvents" {
			requests = append(requests, string(request))
		}
		return true
	}})
	all(t, sink, write(0, "1", quiet))
	if len(requests) != 1 || !strings.Contains(requests[0], `"EndpointId":"abcde.veo"`) {
		t.Errorf("the requests are %v", requests)
	}
}
