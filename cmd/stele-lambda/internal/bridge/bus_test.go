package bridge

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	awsevents "github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	sink "github.com/stelehq/stele/internal/projector/eventbridge"
	"github.com/stelehq/stele/internal/projector/fakeaws"
)

// The whole way: a change becomes an event, a rule sends it to the function, and
// the service hears of it, though at first it cannot.
func TestHandle_EventOfTheSinkReachesTheService(t *testing.T) {
	server, err := fakeaws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	for _, setting := range server.Environ() {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	s := grpcService(t, "127.0.0.1:0")
	s.fail = errors.New("not now")
	b := newBridge(t, targets(t, map[string][]string{"tenantconfig/": {s.address}}))

	// What Lambda is to the bus.
	var failures atomic.Int32
	handled := make(chan struct{}, 1)
	function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e awsevents.EventBridgeEvent
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		if b.Handle(r.Context(), e) == nil {
			handled <- struct{}{}
			return
		}
		failures.Add(1)
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(function.Close)
	client := eventbridge.NewFromConfig(server.Config())
	rule := aws.String("refresh")
	if _, err := client.PutRule(t.Context(), &eventbridge.PutRuleInput{Name: rule, EventPattern: aws.String(`{"source":["stele"]}`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.PutTargets(t.Context(), &eventbridge.PutTargetsInput{Rule: rule, Targets: []types.Target{{Id: rule, Arn: &function.URL}}}); err != nil {
		t.Fatal(err)
	}

	bus, err := sink.Open(t.Context(), projector.Settings{Name: "bus", JSON: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	var id ledger.CommitID
	for i := range id {
		id[i] = byte(i%16) * 0x11
	}
	_, err = bus.Write(t.Context(), []projector.Write{{Tenant: "acme", Key: "tenantconfig/checkout/timeout_ms", Value: "3000", Revision: 42, Commit: id, Time: time.Now()}})
	if err != nil {
		t.Fatal(err)
	}
	<-handled
	if failures.Load() != 1 {
		t.Errorf("the function has failed %d times, not once", failures.Load())
	}
	s.check(t, 2)
}
