package diagnosis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/diagnosis"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

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
