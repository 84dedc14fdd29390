package output

import (
	"bytes"
	"testing"
)

// Text of other users cannot steer a terminal, in any command's output.
func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"alice":                "alice",
		"zoë 日本 👩":             "zoë 日本 👩",
		"\x1b[31mred\x00\x7f":  `\u001b[31mred\u0000\u007f`,
		"\u009b31m\u0085":      `\u009b31m\u0085`,
		"a\u202egnp.exe":       `a\u202egnp.exe`,
		"\u2066x\u2069\u061c":  `\u2066x\u2069\u061c`,
		"zero\u200bwidth":      `zero\u200bwidth`,
		"a\u3164\u115f\ufff9b": `a\u3164\u115f\ufff9b`,
		"x\U000e0101\u034f":    `x\udb40\udd01\u034f`,
		"\u2764\ufe0f":         "\u2764\ufe0f", // a red heart
		"two\nlines\tof\rtext": `two\nlines\tof\u000dtext`,
	} {
		if got := Plain(text); got != want {
			t.Errorf("%q is written as %q, want %q", text, got, want)
		}
	}
}

func TestTerminal_EscapesControls(t *testing.T) {
	for _, tc := range []struct {
		styled     bool
		text, want string
	}{
		{false, "{\"a\":\"\u009b31m\u202e\"}\n", "{\"a\":\"\\u009b31m\\u202e\"}\n"},
		{false, "\x1b]0;title\x07\n", "\\u001b]0;title\\u0007\n"},
		{true, "\x1b[31mred\x1b[0m \u009b31m\u2067\n", "\x1b[31mred\x1b[0m \\u009b31m\\u2067\n"},
		{true, "a\tb\r\n", "a\tb\r\n"},
		{true, "\x1b]0;title\x07\x1b[2J\x1b[1;38:5:1mx\x1b[m\x1b", "\\u001b]0;title\\u0007\\u001b[2J\x1b[1;38:5:1mx\x1b[m\\u001b"},
	} {
		var b bytes.Buffer
		n, err := terminal{&b, tc.styled}.Write([]byte(tc.text))
		if b.String() != tc.want || n != len(tc.text) || err != nil {
			t.Errorf("%q is written as %q, %d, %v", tc.text, b.String(), n, err)
		}
	}
}

// To a file or a pipe, values go as they are.
func TestPrinter_WritesBytesUnchanged(t *testing.T) {
	var b bytes.Buffer
	if err := NewPrinter(&b, Text).Write([]byte("\x1b\u202e\u009b")); err != nil || b.String() != "\x1b\u202e\u009b" {
		t.Errorf("%q, %v", b.String(), err)
	}
}
