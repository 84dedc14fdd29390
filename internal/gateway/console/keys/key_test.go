package keys

import (
	"strings"
	"testing"
)

func TestBeginOf_IsBounded(t *testing.T) {
	deep := strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000)
	long := `"` + strings.Repeat("x", 2*longValue) + `"`
	for _, value := range []string{deep, long} {
		if text, note := beginOf(value); len(text) > longValue || note == "" {
			t.Errorf("%d bytes of %d are shown, with the note %q", len(text), len(value), note)
		}
	}
}
