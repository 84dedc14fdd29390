// Package argvalue reads the values that command lines set.
package argvalue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
)

// Reader reads VALUE arguments. An argument is the value's text, @FILE for the
// content of a file, or - for standard input. Text is taken byte by byte, a last
// newline included. Text that is JSON becomes that JSON, other text a string.
type Reader struct {
	// String takes all text as a string; JSON refuses text that is not JSON.
	String, JSON bool
	// Stdin is what - reads.
	Stdin io.Reader
	// Warn is called with a value that was probably not meant as it is stored.
	Warn func(message string)

	stdinRead bool
}

// Value reads one argument.
func (r *Reader) Value(arg string) (ledger.Value, error) {
	text, from, err := r.text(arg)
	if err != nil {
		return "", err
	}
	switch {
	case r.String:
		return ledger.StringValue(text)
	case r.JSON:
		return ledger.ParseValue(text)
	}
	v, err := ledger.ParseValue(text)
	if err == nil {
		return v, nil
	}
	if looksLikeJSON(text) {
		r.Warn(fmt.Sprintf("%s begins like JSON and is stored as a string: %v. Use --string if that is intended, or --json to reject it", from, err))
	}
	return ledger.StringValue(text)
}

// text returns an argument's text, and what to call it.
func (r *Reader) text(arg string) (text, from string, err error) {
	file, isFile := strings.CutPrefix(arg, "@")
	switch {
	case arg == "-" && r.stdinRead:
		return "", "", errors.New("only one value can be read from standard input")
	case arg == "-":
		r.stdinRead = true
		text, err = read(r.Stdin)
		return text, "standard input", err
	case isFile && file == "":
		return "", "", errors.New("@ is not followed by a file name")
	case isFile:
		f, err := os.Open(file)
		if err != nil {
			return "", "", fmt.Errorf(`%w (a value that begins with @ names a file; write the text itself as JSON, '"@..."')`, err)
		}
		defer f.Close()
		text, err = read(f)
		return text, file, err
	}
	return arg, "the value", nil
}

// read reads at most as much as a value can have: longer text is rejected by its
// length.
func read(r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, 2*ledger.MaxValue+1))
	if err == nil && len(data) > 2*ledger.MaxValue {
		err = fmt.Errorf("it is longer than a value can be, %d bytes", ledger.MaxValue)
	}
	return string(data), err
}

// looksLikeJSON reports whether the text begins as JSON does, or is one of its words
// in another spelling.
func looksLikeJSON(text string) bool {
	text = strings.TrimSpace(text)
	if text == "" {
		return false
	}
	switch strings.ToLower(text) {
	case "true", "false", "null", "none", "nan", "infinity", "-infinity", "undefined":
		return true
	}
	return strings.ContainsRune(`{["`, rune(text[0]))
}
