package eventbridge_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"github.com/stelehq/stele/schemas/events"
)

func numbered(n int) []projector.Write {
	writes := make([]projector.Write, n)
	for i := range writes {
		writes[i] = write(i, "1", quiet)
	}
	return writes
}

// poison has the bus give an error code to the events of some keys.
func poison(codes map[ledger.Key]string) fakeaws.Faults {
	return fakeaws.Faults{Poison: func(e fakeaws.Event) string {
		d, err := events.ParseConfigurationChanged(e.Detail)
		if err != nil {
			return "MalformedDetail"
		}
		return codes[ledger.Key(d.Key)]
	}}
}

func TestWrite_ClassifiesErrors(t *testing.T) {
	server, sink := start(t, `{}`)
	codes := map[string]bool{ // rejected permanently?
		"InternalFailure":                     false,
		"ThrottlingException":                 false,
		"SomethingNew":                        false,
		"AccessDeniedException":               false,
		"InvalidAccountIdException":           false,
		"InvalidArgument":                     true,
		"MalformedDetail":                     true,
		"RedactionFailure":                    false,
		"NotAuthorizedForSourceException":     false,
		"NotAuthorizedForDetailTypeException": false,
	}
	writes, given := numbered(30), make(map[ledger.Key]string)
	for code := range codes {
		given[writes[2*len(given)].Key] = code
	}
	server.SetFaults(poison(given))
	results, err := sink.Write(t.Context(), writes)
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range results {
		code := given[writes[i].Key]
		_, refused := errors.AsType[*projector.RefusedError](got)
		switch {
		case code == "" && got != nil:
			t.Errorf("an event without fault: %v", got)
		case code != "" && (got == nil || !strings.Contains(got.Error(), code) || refused != codes[code]):
			t.Errorf("%s: %v, refused %t", code, got, refused)
		}
	}
	if n := len(server.Buses.Events()); n != len(writes)-len(codes) {
		t.Errorf("%d events came", n)
	}
}

// A request that is refused as a whole, and does not say for which event.
func TestWrite_FindsThePoisonOfARequest(t *testing.T) {
	server, sink := start(t, `{}`)
	server.SetLimits(fakeaws.Limits{EventBytes: 20_000}) // as of another bus, or another year
	writes := numbered(10)
	writes[3].Message = strings.Repeat("m", 30_000)
	writes[7].Route, writes[7].Value = loud, ledger.Value(`"`+strings.Repeat("v", 30_000)+`"`)
	results, err := sink.Write(t.Context(), writes)
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range results {
		if _, refused := errors.AsType[*projector.RefusedError](got); refused != (i == 3) || got != nil && !refused {
			t.Errorf("event %d: %v", i, got)
		}
	}
	came := details(t, server)
	if len(came) != 9 || len(server.Buses.Events()) != 9 || came[string(writes[7].Key)].ValueOmitted != events.Refused {
		t.Errorf("%d events came, of which one without its value: %+v", len(server.Buses.Events()), came[string(writes[7].Key)])
	}
}

func TestWrite_BusWithoutAnAnswer(t *testing.T) {
	server, sink := start(t, `{}`)
	puts := []string{"PutEvents"}
	for name, f := range map[string]fakeaws.Faults{
		"throttled":                  {Throttled: 1},
		"throttled, once it is seen": {Throttled: 1, Operations: puts},
		"broken":                     {Broken: 1, Operations: puts},
		"every event throttled":      {Poison: func(fakeaws.Event) string { return "ThrottlingException" }},
		"answers that are lost":      {Lost: 1, Operations: puts},
	} {
		t.Run(name, func(t *testing.T) {
			server.SetFaults(f)
			results, err := sink.Write(t.Context(), numbered(25))
			if _, refused := errors.AsType[*projector.RefusedError](err); err == nil || refused {
				t.Errorf("the bus answers: %v, %v", results, err)
			}
		})
	}
	if n := len(server.Buses.Events()); n != 10 { // of the request whose answer was lost
		t.Errorf("%d events came", n)
	}
	server.SetFaults(fakeaws.Faults{})
	all(t, sink, numbered(25)...)
	if n := len(details(t, server)); n != 25 {
		t.Errorf("events of %d keys came", n)
	}
}

// What came before the bus stopped answering is not sent again.
func TestWrite_BusStopsAnswering(t *testing.T) {
	server, sink := start(t, `{}`)
	server.SetFaults(fakeaws.Faults{Rates: map[string]float64{"PutEvents": 0.001}}) // one, and then none for long
	writes := numbered(25)
	results, err := sink.Write(t.Context(), writes)
	if err != nil {
		t.Fatal(err)
	}
	var again []projector.Write
	for i, got := range results {
		if _, refused := errors.AsType[*projector.RefusedError](got); refused || (got == nil) != (i < 10) {
			t.Errorf("event %d: %v", i, got)
		}
		if got != nil {
			again = append(again, writes[i])
		}
	}
	if _, err := sink.Write(t.Context(), again); err == nil || !strings.Contains(err.Error(), "ThrottlingException") {
		t.Errorf("the bus answers: %v", err)
	}
	server.SetFaults(fakeaws.Faults{})
	all(t, sink, again...)
	if a, k := len(server.Buses.Events()), len(details(t, server)); a != 25 || k != 25 {
		t.Errorf("%d events of %d keys came", a, k)
	}
}

// A bus that fails 30 % of the events, loses 5 % of the answers and will never take
// some: the others arrive, each at least once.
func TestWrite_EveryChangeArrives(t *testing.T) {
	n := 20_000
	if testing.Short() {
		n = 2000
	}
	server, sink := start(t, `{}`)
	codes := make(map[ledger.Key]string)
	for i := 0; i < n; i += 1000 {
		codes[ledger.Key(fmt.Sprintf("tenantconfig/k%d", i))] = "MalformedDetail"
	}
	f := poison(codes)
	f.FailedEntries, f.Lost, f.Broken, f.Throttled, f.Operations = 0.3, 0.05, 0.05, 0.05, []string{"PutEvents"}
	server.SetFaults(f)

	todo, parked := numbered(n), 0
	for len(todo) > 0 {
		batch := todo[:min(len(todo), sink.Limits().Batch)]
		todo = todo[len(batch):]
		results, err := sink.Write(t.Context(), batch)
		if err != nil {
			todo = append(todo, batch...)
			continue
		}
		for i, got := range results {
			if _, refused := errors.AsType[*projector.RefusedError](got); refused {
				parked++
				if codes[batch[i].Key] == "" {
					t.Errorf("%s is refused: %v", batch[i].Key, got)
				}
			} else if got != nil {
				todo = append(todo, batch[i])
			}
		}
	}
	if came := len(details(t, server)); came != n-len(codes) || parked != len(codes) {
		t.Errorf("of %d changes %d came and %d are parked, of which %d are poison", n, came, parked, len(codes))
	}
	t.Logf("%d changes took %d events in %d requests", n, len(server.Buses.Events()), server.Calls("PutEvents"))
}
