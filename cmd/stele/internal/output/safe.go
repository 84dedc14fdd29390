package output

import (
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/charmbracelet/x/term"
	"github.com/stelehq/stele/internal/text"
)

// Plain returns another user's text as one line that cannot steer a terminal.
func Plain(s string) string {
	s = text.Escape(s, text.Hidden)
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(s)
}

// Stderr is standard error for messages, which can quote other users' text. On a terminal that
// text cannot steer it.
var Stderr io.Writer = stderr{}

type stderr struct{}

func (stderr) Write(p []byte) (int, error) {
	if term.IsTerminal(os.Stderr.Fd()) {
		return terminal{os.Stderr, false}.Write(p)
	}
	return os.Stderr.Write(p)
}

// terminal is a writer to a terminal. Values are JSON, which may hold C1 controls and marks
// of direction as they are.
type terminal struct {
	w io.Writer
	// styled text has escape sequences of our own, which set colors and do nothing else.
	styled bool
}

var colors = regexp.MustCompile("\x1b\\[[0-9;:]*m")

func (t terminal) Write(p []byte) (int, error) {
	var b strings.Builder
	rest := string(p)
	if t.styled {
		for at := colors.FindStringIndex(rest); at != nil; at = colors.FindStringIndex(rest) {
			b.WriteString(escapeControls(rest[:at[0]]))
			b.WriteString(rest[at[0]:at[1]])
			rest = rest[at[1]:]
		}
	}
	b.WriteString(escapeControls(rest))
	_, err := io.WriteString(t.w, b.String())
	return len(p), err
}

// escapeControls escapes what acts on a terminal, except line endings.
func escapeControls(s string) string {
	lines := strings.Split(s, "\r\n")
	for i, line := range lines {
		lines[i] = text.Escape(line, text.Hidden)
	}
	return strings.Join(lines, "\r\n")
}
