// Package output writes results: aligned and colored for users, one JSON object per
// line or one YAML document each for programs.
package output

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/term"
	"github.com/stelehq/stele/cmd/stele/internal/yamljson"
)

// Format is how results are written.
type Format string

// The formats of the flag -o.
const (
	Text Format = "text"
	JSON Format = "json"
	YAML Format = "yaml"
)

// ParseFormat reads the flag -o.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case Text, JSON, YAML:
		return f, nil
	}
	return "", fmt.Errorf("unknown output format %q: use text, json or yaml", s)
}

// Styles of text for users; colors appear on a terminal only.
var (
	Revision = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	Faint    = lipgloss.NewStyle().Faint(true)
	Heading  = lipgloss.NewStyle().Bold(true)
	Good     = lipgloss.NewStyle().Foreground(lipgloss.Green)
	Bad      = lipgloss.NewStyle().Foreground(lipgloss.Red)
)

// Printer writes results to one place in one format.
type Printer struct {
	Format Format

	// text gets the text for users, and leaves colors out if w shows none; raw is w
	// itself.
	text, raw io.Writer
	// width of the terminal; 0 without one.
	width     int
	documents int
}

// NewPrinter prints to w. Colors are left out, and nothing is clipped, unless w
// is a terminal.
func NewPrinter(w io.Writer, f Format) *Printer {
	p := &Printer{Format: f, text: colorprofile.NewWriter(w, os.Environ()), raw: w}
	if file, ok := w.(*os.File); ok && term.IsTerminal(file.Fd()) {
		p.width, _, _ = term.GetSize(file.Fd())
		p.text, p.raw = terminal{p.text, true}, terminal{w, false}
	}
	return p
}

// Buffer has the printer collect what Write and Object print, until it has a megabyte of it or
// flush is called.
func (p *Printer) Buffer() (flush func() error) {
	t, steers := p.raw.(terminal)
	if !steers {
		t.w = p.raw
	}
	out := bufio.NewWriterSize(t.w, 1<<20)
	if t.w, p.raw = out, out; steers {
		p.raw = t // it escapes each object as a whole: a character that is cut would pass
	}
	return out.Flush
}

// Terminal reports whether the output is a terminal.
func (p *Printer) Terminal() bool { return p.width > 0 }

// Printf writes text for users.
func (p *Printer) Printf(format string, args ...any) error {
	_, err := fmt.Fprintf(p.text, format, args...)
	return err
}

// Write writes bytes as they are.
func (p *Printer) Write(b []byte) error {
	_, err := p.raw.Write(b)
	return err
}

// Object writes a result for programs.
func (p *Printer) Object(v any) error {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	if p.Format != YAML {
		return p.Write(line.Bytes())
	}
	if p.documents++; p.documents > 1 {
		if _, err := io.WriteString(p.raw, "---\n"); err != nil {
			return err
		}
	}
	return yamljson.Encode(p.raw, line.Bytes())
}

// gap is the space between two columns.
const gap = 2

// Table writes rows in columns. On a terminal rows are made to fit: the column named by
// clip is cut at its end, -1 for none, and then the widest ones are cut in the middle.
func (p *Printer) Table(header []string, rows [][]string, clip int) error {
	return p.NewTable(header, rows, clip).Write(rows)
}

// Table is a table that is printed in parts, as its rows arrive.
type Table struct {
	p      *Printer
	header []string // nil once it is printed
	widths []int
	clip   int
}

// NewTable makes a table whose columns are as wide as these rows need. Longer cells of
// later rows are cut on a terminal, and push their row's other cells aside elsewhere.
func (p *Printer) NewTable(header []string, rows [][]string, clip int) *Table {
	widths := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], lipgloss.Width(cell))
		}
	}
	if p.width > 0 {
		fit(widths, header, clip, p.width)
	}
	return &Table{p, header, widths, clip}
}

// Write prints rows, and the header before the first.
func (t *Table) Write(rows [][]string) error {
	var b strings.Builder
	write := func(row []string, style func(string) string) {
		for i, cell := range row {
			switch {
			case t.p.width == 0:
			case i == t.clip:
				cell = ansi.Truncate(cell, t.widths[i], "…")
			default:
				cell = middle(cell, t.widths[i])
			}
			b.WriteString(style(cell))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", max(0, t.widths[i]-lipgloss.Width(cell))+gap))
			}
		}
		b.WriteByte('\n')
	}
	if t.header != nil {
		write(t.header, func(s string) string { return Heading.Render(s) })
		t.header = nil
	}
	for _, row := range rows {
		write(row, func(s string) string { return s })
	}
	_, err := io.WriteString(t.p.text, b.String())
	return err
}

// The columns of a table keep this much as long as others can shrink.
const (
	leastClip   = 16
	leastColumn = 12
)

// fit makes columns narrower until a row fits, none narrower than its header: first the
// one to clip, as far as leastClip, then the widest others, as far as leastColumn, and
// then the one to clip again.
func fit(widths []int, header []string, clip, width int) {
	over := gap*(len(widths)-1) - width
	for _, w := range widths {
		over += w
	}
	shrink := func(i, least int) {
		by := max(0, min(over, widths[i]-max(least, lipgloss.Width(header[i]))))
		widths[i] -= by
		over -= by
	}
	if clip >= 0 {
		shrink(clip, leastClip)
	}
	for over > 0 {
		widest := -1
		for i, w := range widths {
			if i != clip && w > max(leastColumn, lipgloss.Width(header[i])) && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		shrink(widest, widths[widest]-1)
	}
	if clip >= 0 {
		shrink(clip, 0)
	}
}

// middle shortens a text in its middle, because the end of a key is more specific.
func middle(s string, width int) string {
	all := lipgloss.Width(s)
	if all <= width {
		return s
	}
	end := width / 2
	return ansi.Truncate(s, width-1-end, "") + "…" + ansi.TruncateLeft(s, all-end, "")
}

// Subject is the first line of a commit's message, which tables have room for.
func Subject(message string) string {
	first, _, _ := strings.Cut(message, "\n")
	return Plain(first)
}

// Message is a commit's message as rows of a table of facts: its name, and its lines.
func Message(message string) (rows [][2]string) {
	name := "message"
	for line := range strings.SplitSeq(strings.TrimRight(message, "\n"), "\n") {
		rows = append(rows, [2]string{name, Plain(line)})
		name = ""
	}
	return rows
}
