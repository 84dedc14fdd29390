package fakeaws

import (
	"fmt"
	"regexp"
)

type createEventBusIn struct{ Name string }

type createEventBusOut struct {
	EventBusArn string
}

var newBusName = regexp.MustCompile(`^[.\-_A-Za-z0-9]{1,256}$`)

func (s *Server) createEventBus(in createEventBusIn) (*createEventBusOut, error) {
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

func (s *Server) describeEventBus(in describeEventBusIn) (*describeEventBusOut, error) {
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
