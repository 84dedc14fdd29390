package projector_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
)

// Sinks pass the commit without changes that resets a clock, also as the last one.
func TestProject_ResetClock(t *testing.T) {
	w := newWorld(t, `{"sinks":{"store":{},"bus":{}},"routes":[{"prefix":"","sinks":["store","bus"]}]}`)
	w.start(w.node, false)
	ledgertest.CommitAt(t, w.node, "acme", time.Now().Add(365*24*time.Hour))
	if _, _, err := w.node.Ledger.ResetClock(t.Context(), "acme", "op", "the clock was wrong"); err != nil {
		t.Fatal(err)
	}
	w.equal("", "acme")
	for _, sink := range []string{"store", "bus"} {
		until(t, func() bool { return w.status(sink, "acme").LagRevisions == 0 }, func() string { return fmt.Sprint(w.status(sink, "acme")) })
	}
	w.commit("acme", map[ledger.Key]string{"app/a": "1"})
	w.equal("", "acme")
}
