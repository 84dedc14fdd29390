package page

import (
	"testing"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestAxis_TicksHaveLabelsOfTheirOwn(t *testing.T) {
	begun := time.Date(2026, 3, 4, 23, 59, 58, 700_000_000, time.UTC)
	for _, tc := range []struct {
		length time.Duration
		ticks  int
	}{
		{0, 2}, {100 * time.Millisecond, 2}, {time.Second, 3}, {2 * time.Second, 3}, {3 * time.Second, 5}, {10 * time.Second, 5},
		{2 * time.Hour, 5}, {25 * time.Hour, 5}, {5 * 24 * time.Hour, 5}, {6 * 24 * time.Hour, 5}, {50 * 365 * 24 * time.Hour, 5},
	} {
		a := &axis{counts: &stelev1.CountCommitsResponse{Since: timestamppb.New(begun), Until: timestamppb.New(begun.Add(tc.length))}}
		ticks, w := a.ticks(), a.window()
		if len(ticks) != tc.ticks || !ticks[0].Equal(w.from) || !ticks[len(ticks)-1].Equal(w.to) {
			t.Errorf("%s: the ticks are %v, want %d from %s to %s", tc.length, ticks, tc.ticks, w.from, w.to)
		}
		labels := make(map[string]bool)
		for _, at := range ticks {
			labels[a.tick(at)] = true
		}
		if len(labels) != len(ticks) {
			t.Errorf("%s: %d ticks have the labels %v", tc.length, len(ticks), labels)
		}
	}
}
