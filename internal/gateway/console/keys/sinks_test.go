package keys

import (
	"testing"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func TestRemains(t *testing.T) {
	for _, c := range []struct {
		drift *stelev1.Drift
		want  bool
	}{
		{&stelev1.Drift{Action: stelev1.Drift_ACTION_REPORTED}, true},
		{&stelev1.Drift{Action: stelev1.Drift_ACTION_REPAIRED}, false},
		{&stelev1.Drift{Action: stelev1.Drift_ACTION_REPAIRED, Failure: "the disk is full"}, true},
		{&stelev1.Drift{Action: stelev1.Drift_ACTION_ADOPTED}, false},
	} {
		if got := remains(c.drift); got != c.want {
			t.Errorf("%v: %v", c.drift, got)
		}
	}
}
