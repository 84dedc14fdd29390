package fakeaws_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
)

const apiCreateEventBus = "https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_CreateEventBus.html"

func TestBuses(t *testing.T) {
	s, c := startEvents(t)
	describe := func(bus string) string {
		_, err := c.DescribeEventBus(t.Context(), &eventbridge.DescribeEventBusInput{Name: &bus})
		return code(err)
	}
	put := func() {
		e := entry(`{}`)
		e.EventBusName = aws.String("bus")
		out, err := c.PutEvents(t.Context(), &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{e}})
		if err != nil || out.FailedEntryCount != 0 {
			t.Fatalf("an event was not taken: %v", err)
		}
	}
	create := func(name string) string {
		_, err := c.CreateEventBus(t.Context(), &eventbridge.CreateEventBusInput{Name: &name})
		return code(err)
	}

	if got := describe("default"); got != "" {
		t.Errorf("the default bus: %s", got)
	}
	if got := describe("bus"); got != "ResourceNotFoundException" {
		t.Errorf("a bus that is not there: %q", got)
	}
	if _, err := c.PutRule(t.Context(), &eventbridge.PutRuleInput{Name: aws.String("r"), EventBusName: aws.String("bus"), EventPattern: aws.String(`{"source":["a"]}`)}); code(err) != "ResourceNotFoundException" {
		t.Errorf("a rule of a bus that is not there: %v (%s)", err, apiPutRule)
	}
	if put(); len(s.Buses.Events()) != 0 {
		t.Error("an event came to a bus that is not there")
	}
	for name, want := range map[string]string{"bus": "", "a b": "ValidationException", "": "ValidationException"} {
		if got := create(name); got != want {
			t.Errorf("create %q: %q, not %q (%s)", name, got, want, apiCreateEventBus)
		}
	}
	if got := create("bus"); got != "ResourceAlreadyExistsException" {
		t.Errorf("create a bus again: %q (%s)", got, apiCreateEventBus)
	}
	if got := describe("arn:aws:events:us-east-1:123456789012:event-bus/bus"); got != "" {
		t.Errorf("the bus: %s", got)
	}
	if put(); len(s.Buses.Events()) != 1 {
		t.Errorf("%d events came to the bus", len(s.Buses.Events()))
	}
}
