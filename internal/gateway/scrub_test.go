package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger/scrub"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Damage in the journal is in the status, for operators only, in the report about the
// gateway, and in the metrics.
func TestScrubbed_IsReported(t *testing.T) {
	found := []scrub.Status{
		{Server: "n1", Completed: time.Unix(1_800_000_000, 0), Messages: 9},
		{Server: "n2", Completed: time.Unix(1_800_000_000, 0), Messages: 8, Damaged: 1, Findings: []string{"STELE: message 7 cannot be read"}},
		{Server: "n3", Failed: "no consumer was placed on n3"},
	}
	f := start(t, func(c *gateway.Config) { c.Scrubbed = func() []scrub.Status { return found } })
	operator := f.as(t, "", identity.Operator)
	st, err := f.ledger.GetStatus(operator, &stelev1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if c := st.JournalCopies; len(c) != 3 || c[0].Damaged != 0 || c[0].Completed == nil || c[1].Server != "n2" || c[1].Damaged != 1 || len(c[1].Findings) != 1 || c[2].Completed != nil || c[2].Error == "" {
		t.Errorf("the status has %v", c)
	}
	if st, err := f.ledger.GetStatus(f.as(t, "acme", identity.Admin), &stelev1.GetStatusRequest{}); err != nil || len(st.JournalCopies) > 0 {
		t.Errorf("a tenant sees %v, %v", st.GetJournalCopies(), err)
	}
	all, err := f.ledger.ListGateways(operator, &stelev1.ListGatewaysRequest{})
	if err != nil || len(all.Gateways) != 1 || all.Gateways[0].Damaged != "n2: STELE: message 7 cannot be read" {
		t.Errorf("the gateway reports %v, %v", all, err)
	}
	w := httptest.NewRecorder()
	f.gateway.HTTP().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`stele_journal_damaged_messages{server="n1"} 0`, `stele_journal_damaged_messages{server="n2"} 1`,
		`stele_journal_scrub_completed_timestamp_seconds{server="n1"} 1.8e+09`, `stele_journal_scrub_completed_timestamp_seconds{server="n3"} 0`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
}
