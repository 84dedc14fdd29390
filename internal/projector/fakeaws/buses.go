package fakeaws

import (
	"fmt"
	"regexp"
)

// Buses is EventBridge.
type Buses struct {
	*account
	wake chan struct{} // of capacity 1: the queue has something to deliver

	// Guarded by mu.
	buses       map[string]bool // by name
	rules       map[ruleID]*rule
	events      []Event
	queue       []delivery
	undelivered int
}

func newBuses(a *account) *Buses {
	return &Buses{account: a, wake: make(chan struct{}, 1), buses: map[string]bool{"default": true}, rules: make(map[ruleID]*rule)}
}

func (s *Buses) operations() map[string]handler {
	return map[string]handler{
		"AWSEvents.PutEvents":        operation(s.account, s.putEvents),
		"AWSEvents.CreateEventBus":   operation(s.account, s.createEventBus),
		"AWSEvents.DescribeEventBus": operation(s.account, s.describeEventBus),
		"AWSEvents.PutRule":          operation(s.account, s.putRule),
		"AWSEvents.PutTargets":       operation(s.account, s.putTargets),
	}
}

type createEventBusIn struct{ Name string }

type createEventBusOut struct {
	EventBusArn string
}

var newBusName = regexp.MustCompile(`^[.\-_A-Za-z0-9]{1,256}$`)

func (s *Buses) createEventBus(in createEventBusIn) (*createEventBusOut, error) {
	switch {
	case !newBusName.MatchString(in.Name):
		return nil, invalid("1 validation error detected: Value '%s' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [/\\.\\-_A-Za-z0-9]+", in.Name)
	case s.buses[in.Name]:
		return nil, fail("ResourceAlreadyExistsException", "Event bus %s already exists.", in.Name)
	}
	s.buses[in.Name] = true
	return &createEventBusOut{busARN(in.Name)}, nil
}

type describeEventBusIn struct{ Name string }

type describeEventBusOut struct {
	Name, Arn string
}

func (s *Buses) describeEventBus(in describeEventBusIn) (*describeEventBusOut, error) {
	name := busName(in.Name)
	if !s.buses[name] {
		return nil, noBus(name)
	}
	return &describeEventBusOut{name, busARN(name)}, nil
}

func busARN(name string) string {
	return fmt.Sprintf("arn:aws:events:%s:%s:event-bus/%s", Region, Account, name)
}

func noBus(name string) error {
	return fail("ResourceNotFoundException", "Event bus %s does not exist.", name)
}
