package keys

import (
	"strings"
	"testing"
)

func TestWholeValue_IsBounded(t *testing.T) {
	deep := strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000)
	long := `"` + strings.Repeat("x", 2*longValue) + `"`
	for _, value := range []string{deep, long} {
		if shown := wholeValue(value); len(shown) > longValue+100 {
			t.Errorf("%d bytes of %d are shown", len(shown), len(value))
		}
	}
}
