package output

import (
	"io"
	"strings"

	"github.com/stelehq/stele/internal/text"
)

// Plain returns another user's text as one line that cannot steer a terminal.
func Plain(s string) string {
	s = text.Escape(s, text.Hidden)
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
	_, err := io.WriteString(t.w, text.Escape(string(p), func(r rune) bool {
		return text.Hidden(r) && r != '\r' && (r != '\x1b' || !t.styled)
	}))
	return len(p), err
}
