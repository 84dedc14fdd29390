package fakeaws

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	maxTargets  = 5 // of a rule
	maxPattern  = 4096
	attempts    = 6 // of a delivery
	firstPause  = 20 * time.Millisecond
	attemptTime = 10 * time.Second
)

type ruleID struct{ bus, name string }

type rule struct {
	pattern *Pattern
	enabled bool
	targets []target
}

type target struct {
	ID    string `json:"Id"`
	Arn   string
	Input any // these three would change what a target gets
	Path  any `json:"InputPath"`
	Trans any `json:"InputTransformer"`
}

type putRuleIn struct {
	Name               string
	EventBusName       string
	EventPattern       string
	State              string
	ScheduleExpression string
}

type putRuleOut struct{ RuleArn string }

var ruleName = regexp.MustCompile(`^[.\-_A-Za-z0-9]{1,64}$`)

func (s *Buses) putRule(in putRuleIn) (*putRuleOut, error) {
	switch {
	case !ruleName.MatchString(in.Name):
		return nil, invalid("1 validation error detected: Value '%s' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\.\\-_A-Za-z0-9]+", in.Name)
	case in.ScheduleExpression != "":
		return nil, fail("UnsupportedOperationException", "the fake has no schedules")
	case in.EventPattern == "":
		return nil, invalid("Parameter(s) EventPattern or ScheduleExpression must be specified.")
	case len(in.EventPattern) > maxPattern:
		return nil, invalid("1 validation error detected: Value at 'eventPattern' failed to satisfy constraint: Member must have length less than or equal to %d", maxPattern)
	}
	pattern, err := ParsePattern([]byte(in.EventPattern))
	if err != nil {
		return nil, fail("InvalidEventPatternException", "Event pattern is not valid. Reason: %v", err)
	}
	id := ruleID{busName(in.EventBusName), in.Name}
	if !s.buses[id.bus] {
		return nil, noBus(id.bus)
	}
	r := s.rules[id]
	if r == nil {
		r = &rule{}
		s.rules[id] = r
	}
	r.pattern, r.enabled = pattern, in.State != "DISABLED"
	return &putRuleOut{fmt.Sprintf("arn:aws:events:%s:%s:rule/%s/%s", Region, Account, id.bus, id.name)}, nil
}

type putTargetsIn struct {
	Rule         string
	EventBusName string
	Targets      []target
}

type putTargetsOut struct {
	FailedEntryCount int
	FailedEntries    []struct{}
}

// putTargets requires targets whose ARN is a URL: events are posted there.
func (s *Buses) putTargets(in putTargetsIn) (*putTargetsOut, error) {
	id := ruleID{busName(in.EventBusName), in.Rule}
	r := s.rules[id]
	if r == nil {
		return nil, fail("ResourceNotFoundException", "Rule %s does not exist on EventBus %s.", id.name, id.bus)
	}
	targets := slices.Clone(r.targets)
	for _, t := range in.Targets {
		if t.ID == "" || !strings.HasPrefix(t.Arn, "http://") {
			return nil, invalid("the fake delivers to a target with an Id and an Arn that is a URL, http://..., not %q", t.Arn)
		}
		if t.Input != nil || t.Path != nil || t.Trans != nil {
			return nil, fail("UnsupportedOperationException", "the fake delivers events as they are")
		}
		if i := slices.IndexFunc(targets, func(old target) bool { return old.ID == t.ID }); i >= 0 {
			targets[i] = t
		} else {
			targets = append(targets, t)
		}
	}
	if len(targets) > maxTargets {
		return nil, fail("LimitExceededException", "The requested resource exceeds the maximum number allowed.")
	}
	r.targets = targets
	return &putTargetsOut{FailedEntries: []struct{}{}}, nil
}

// delivery is an event on its way to a target.
type delivery struct {
	url  string
	body []byte
}

// route queues the event for the targets of the rules that match it.
func (s *Buses) route(e Event) {
	var body []byte
	for id, r := range s.rules {
		if id.bus != e.Bus || !r.enabled {
			continue
		}
		if body == nil {
			var err error
			if body, err = json.Marshal(e); err != nil {
				panic(fmt.Sprintf("an event that was checked cannot be written: %v", err))
			}
		}
		if !r.pattern.Match(body) {
			continue
		}
		for _, t := range r.targets {
			s.queue = append(s.queue, delivery{t.Arn, body})
		}
	}
	select {
	case s.wake <- struct{}{}:
	default: // it is awake
	}
}

// Undelivered is how many deliveries were given up, because the target had not
// answered with a 2xx in six attempts.
func (s *Buses) Undelivered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.undelivered
}

// deliver posts queued events until the server closes.
func (s *Buses) deliver() {
	client := &http.Client{Timeout: attemptTime, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.wake:
		}
		s.mu.Lock()
		queue := s.queue
		s.queue = nil
		s.mu.Unlock()
		for _, d := range queue {
			if s.post(client, d) {
				continue
			}
			if s.ctx.Err() != nil {
				return
			}
			s.mu.Lock()
			s.undelivered++
			s.mu.Unlock()
		}
	}
}

func (s *Buses) post(client *http.Client, d delivery) bool {
	pause := firstPause
	for attempt := range attempts {
		if attempt > 0 {
			select {
			case <-s.ctx.Done():
				return false
			case <-time.After(pause):
			}
			pause *= 2
		}
		r, err := http.NewRequestWithContext(s.ctx, http.MethodPost, d.url, bytes.NewReader(d.body))
		if err != nil {
			return false // the URL is invalid
		}
		r.Header.Set("Content-Type", "application/json")
		answer, err := client.Do(r)
		if err != nil {
			continue
		}
		answer.Body.Close()
		if answer.StatusCode/100 == 2 {
			return true
		}
	}
	return false
}
