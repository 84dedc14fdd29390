package timeline

import (
	"testing"
)

func TestSpread(t *testing.T) {
	for head, want := range map[uint64][]uint64{0: nil, 1: {1}, 2: {1, 2}, 5: {1, 2, 3, 4, 5}, 101: {1, 26, 51, 76, 101}} {
		got := spread(head)
		if len(got) != len(want) {
			t.Fatalf("%d: %v", head, got)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%d: %v", head, got)
			}
		}
	}
}
