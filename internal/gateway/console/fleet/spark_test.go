package fleet

import (
	"testing"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A chart shows the largest lag of each of its points, and nothing outside of its time.
func TestSpark(t *testing.T) {
	now := time.Unix(100_000, 0)
	at := func(ago time.Duration, lag uint64) *stelev1.LagSample {
		return &stelev1.LagSample{Time: timestamppb.New(now.Add(-ago)), LagRevisions: lag}
	}
	for _, tc := range []struct {
		name         string
		samples      []*stelev1.LagSample
		points, text string
	}{
		{"none", nil, "", "no sample yet"},
		{"one", []*stelev1.LagSample{at(0, 0)}, "178,26.5 178.9,26.5", "never behind"},
		{"the largest of a point", []*stelev1.LagSample{at(3*time.Hour, 0), at(20*time.Second, 4), at(10*time.Second, 0)}, "88,26.5 178,1.5", "at most 4 revisions"},
		{"too old, and of another clock", []*stelev1.LagSample{at(7*time.Hour, 9), at(time.Hour, 1), at(0, 1), at(-time.Hour, 9)}, "148,1.5 178,1.5", "at most 1 revision"},
	} {
		if s := sparkOf(tc.samples, now); s.points != tc.points || s.text() != tc.text {
			t.Errorf("%s: %q, %q; want %q, %q", tc.name, s.points, s.text(), tc.points, tc.text)
		}
	}
}
