package gateway

import (
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger/routes"
)

// The history keeps the newest samples in their order, and forgets sinks that the routes no
// longer name.
func TestLagHistory(t *testing.T) {
	var h lagHistory
	named := map[string]routes.Sink{"files": {}, "bus": {}}
	begun := time.Unix(1000, 0)
	for i := range lagSamples + 5 {
		lags := map[string]uint64{"files": uint64(i)}
		if i%2 == 0 { // else it did not answer
			lags["bus"] = 1
		}
		h.add(begun.Add(time.Duration(i)*lagInterval), named, lags)
	}
	got := h.of("files")
	if len(got) != lagSamples || got[0].LagRevisions != 5 || got[len(got)-1].LagRevisions != uint64(lagSamples+4) {
		t.Errorf("%d samples, from %v to %v", len(got), got[0], got[len(got)-1])
	}
	if want := begun.Add(5 * lagInterval); !got[0].Time.AsTime().Equal(want) {
		t.Errorf("the oldest sample is of %s, want %s", got[0].Time.AsTime(), want)
	}
	if n := len(h.of("bus")); n != lagSamples/2+3 {
		t.Errorf("a sink that answers every second time has %d samples", n)
	}
	h.add(begun, map[string]routes.Sink{"files": {}}, nil)
	if got := h.of("bus"); got != nil {
		t.Errorf("a sink that is gone has %d samples", len(got))
	}
}
