package patch

import (
	"testing"

	"github.com/stelehq/stele/internal/ledger"
)

func FuzzBetween(f *testing.F) {
	f.Add(`{"a":[1,2,{"b":null}]}`, `{"a":[2,{"b":1.0},3],"~/":""}`)
	f.Add(`[[],[[]]]`, `[[[]],[]]`)
	f.Fuzz(func(t *testing.T, from, to string) {
		a, err := ledger.ParseValue(from)
		if err != nil {
			return
		}
		b, err := ledger.ParseValue(to)
		if err != nil {
			return
		}
		operations, err := Between(a, b)
		if err != nil {
			t.Fatalf("from %s to %s: %v", from, to, err)
		}
		if len(operations) == 0 && !a.Equal(b) {
			t.Errorf("no difference between %s and %s", from, to)
		}
		if none, err := Between(b, b); err != nil || len(none) > 0 {
			t.Errorf("%s differs from itself: %v, %v", to, none, err)
		}
	})
}
