package page

import (
	"testing"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

// TestLateBy: pages warn of a gateway that has not heard from the journal, or has
// stopped following it.
func TestLateBy(t *testing.T) {
	for _, c := range []struct {
		snapshot *stelev1.Snapshot
		want     string
	}{
		{nil, ""}, {&stelev1.Snapshot{}, ""}, {&stelev1.Snapshot{Age: durationpb.New(2 * time.Second)}, ""},
		{&stelev1.Snapshot{Age: durationpb.New(12 * time.Second)}, "12 s"}, {&stelev1.Snapshot{Age: durationpb.New(time.Second), Stale: true}, "1 s"},
	} {
		if got := lateBy(&stelev1.GetHeadResponse{Snapshot: c.snapshot}); got != c.want {
			t.Errorf("%v: %q", c.snapshot, got)
		}
	}
}
