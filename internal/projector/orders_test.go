package projector_test

import (
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	sinkstatev1 "github.com/stelehq/stele/internal/projector/sinkstate/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// A sink that cannot be opened is as far as it was left, which is not up to date.
func TestOrders_SinkIsNotOpen(t *testing.T) {
	w := newWorld(t, `{"sinks":{"gone":{}},"routes":[{"prefix":"a/","sinks":["gone"]}]}`)
	w.commit("acme", map[ledger.Key]string{"a/1": "1"})
	w.commit("globex", map[ledger.Key]string{"a/1": "1"})
	w.start(w.node, true)
	for tenant, lag := range map[ledger.Tenant]uint64{"acme": 1, "": 2, "nobody": 0} {
		until(t, func() bool { return w.status("gone", tenant).LastError != "" }, func() string { return "why it is not open" })
		st := w.status("gone", tenant)
		if st.LagRevisions != lag || st.Owner == "" || st.Kind != "gone" || !strings.Contains(st.LastError, `unknown kind "gone"`) {
			t.Errorf("of %q it reports %v", tenant, st)
		}
	}
	c := &projector.Control{Conn: w.node.Conn, Journal: w.node.Journal, Replica: w.node.Replica}
	until(t, func() bool {
		reply, err := c.Ask(t.Context(), "gone", &sinkstatev1.Order{Order: &sinkstatev1.Order_Replay{Replay: &stelev1.ReplayRequest{}}})
		return err == nil && strings.Contains(reply.Error, "not open") && !reply.Invalid
	}, func() string { return "a replay is refused" })
}
