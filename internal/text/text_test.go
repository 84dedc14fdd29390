package text_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stelehq/stele/internal/text"
)

func TestClip(t *testing.T) {
	for _, tc := range []struct {
		in   string
		most int
		want string
	}{
		{"abc", 3, "abc"},
		{"abcd", 3, "abc..."},
		{"aéd", 2, "a..."}, // é has two bytes
		{"aéd", 3, "aé..."},
	} {
		if got := text.Clip(tc.in, tc.most); got != tc.want {
			t.Errorf("Clip(%q, %d) = %q, want %q", tc.in, tc.most, got, tc.want)
		}
	}
}

// A JSON string has the same meaning after its hidden characters were escaped.
func TestEscape_KeepsTheMeaningOfJSON(t *testing.T) {
	for in, want := range map[string]string{
		"\"a\u202eb\"":               `"a\u202eb"`,
		"\"\u009b31m\x7f\"":          `"\u009b31m\u007f"`,
		"\"flag \U000e0067\u180e.\"": `"flag \udb40\udc67\u180e."`,
		"\"zoë 👩\"":                  "\"zoë 👩\"",
	} {
		got := text.Escape(in, text.Hidden)
		if got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
		var a, b string
		if err := errors.Join(json.Unmarshal([]byte(in), &a), json.Unmarshal([]byte(got), &b)); err != nil || a != b {
			t.Errorf("%q means %q, and %q before: %v", got, b, a, err)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 18446744073709551615: "18,446,744,073,709,551,615"} {
		if got := text.Thousands(n); got != want {
			t.Errorf("Thousands(%d) = %q, want %q", n, got, want)
		}
	}
}
