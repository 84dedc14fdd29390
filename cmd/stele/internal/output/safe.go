package output

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// steers reports whether a character acts on a terminal or on the text around it instead of
// being shown: controls of C0 and C1, marks of direction, and characters without width. Line
// breaks and tabs are text.
func steers(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case unicode.IsControl(r), r == 0xad, r == 0x61c, r == 0x180e, r == 0xfeff, r >= 0xe0000 && r <= 0xe007f:
		return true
	}
	return r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x206f
}

// visible escapes the characters that steer as JSON does, except those that keep reports.
func visible(s string, keep func(rune) bool) string {
	hidden := func(r rune) bool { return steers(r) && !keep(r) }
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if hidden(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Plain returns another user's text as one line that cannot steer a terminal.
func Plain(s string) string {
	s = visible(s, func(rune) bool { return false })
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(s)
}

// terminal is a writer to a terminal. Values are JSON, which may hold C1 controls and marks
// of direction as they are.
type terminal struct {
	w io.Writer
	// styled text has escape sequences of our own.
	styled bool
}

func (t terminal) Write(p []byte) (int, error) {
	_, err := io.WriteString(t.w, visible(string(p), func(r rune) bool { return r == '\r' || t.styled && r == '\x1b' }))
	return len(p), err
}
