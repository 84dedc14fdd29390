package diagnosis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/diagnosis"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Routes of processes that differ are a problem, except routes of edges and of processes that
// no longer report.
func TestDifferences_OwnRoutes(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	gateway := func(address, subject, routes string, ago time.Duration) *stelev1.GatewayStatus {
		return &stelev1.GatewayStatus{Host: "h", Address: address, Subject: subject, OwnRoutes: []byte(routes), Seen: timestamppb.New(now.Add(-ago))}
	}
	for _, c := range []struct {
		gateways []*stelev1.GatewayStatus
		want     string
	}{
		{[]*stelev1.GatewayStatus{gateway("a", "", "1", 0), gateway("b", "", "1", 0), gateway("c", "", "", 0)}, ""},
		{[]*stelev1.GatewayStatus{gateway("a", "", "1", 0), gateway("b", "edge", "2", 0), gateway("c", "", "2", time.Hour)}, ""},
		{[]*stelev1.GatewayStatus{gateway("a", "", "1", 0), gateway("b", "", "2", 0), gateway("c", "", "1", 0)},
			"processes have different routes of their own, so some do not know the sinks: h a and h c differs from h b"},
	} {
		var got []string
		for _, p := range diagnosis.Differences(c.gateways, now) {
			got = append(got, p.What)
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("it says %q, not %q", got, c.want)
		}
	}
}

func TestCopies(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	ago := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(-d)) }
	for want, c := range map[string]*stelev1.JournalCopy{
		"": {Completed: ago(time.Hour), Messages: 3},
		"the copy of the journal on n2 is damaged: STELE: message 7 cannot be read": {Server: "n2", Completed: ago(time.Hour), Damaged: 1, Findings: []string{"STELE: message 7 cannot be read"}},
		"the journal is damaged: a; b; c; and 2 more findings":                      {Damaged: 9, Findings: []string{"a", "b", "c", "d", "e"}},
		"the copy of the journal on n3 could not be compared with the tree: down":   {Server: "n3", Completed: ago(time.Hour), Error: "down"},
		"the journal was last compared with the tree 100h0m0s ago":                  {Completed: ago(100 * time.Hour)},
	} {
		var got []string
		for _, p := range diagnosis.Copies([]*stelev1.JournalCopy{c}, now) {
			got = append(got, p.What)
			if p.Try == "" {
				t.Errorf("%s: it does not say what to do", p.What)
			}
		}
		if strings.Join(got, "|") != want {
			t.Errorf("it says %q, not %q", got, want)
		}
	}
}
