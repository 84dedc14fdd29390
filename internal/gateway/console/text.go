package console

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/text"
)

// How much of a value pages show, in bytes: in a row of a table, and alone.
const (
	shortValue = 160
	longValue  = 16 << 10
)

// visible escapes invisible characters and those that change the direction of the text
// around them. In a JSON string that does not change the meaning.
func visible(s string) string { return text.Escape(s, text.Hidden) }

// short is a value for a row of a table.
func short(value string) string {
	s, cut := begin(value, shortValue)
	if cut {
		s += "…"
	}
	return visible(s)
}

// begin is the first part of a text, and whether there is more.
func begin(s string, most int) (string, bool) {
	if len(s) <= most {
		return s, false
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most], true
}

// maxLayout is the longest value over several lines, in bytes: a value that is nested grows
// with its depth.
const maxLayout = 2 << 20

// pretty is a value over several lines, or as it is if those would be too long. Numbers and
// strings stay as they are written.
func pretty(value string) string {
	v := jsontext.Value(value)
	if layoutSize(value) > maxLayout || v.Format(jsontext.PreserveRawStrings(true), jsontext.SpaceAfterColon(true), jsontext.Multiline(true), jsontext.WithIndent("  ")) != nil {
		return visible(value)
	}
	return visible(string(v))
}

// layoutSize is about how long a value over several lines is, at least.
func layoutSize(value string) int {
	size, depth, inString, escaped := len(value), 0, false, false
	for i := range len(value) {
		switch c := value[i]; {
		case escaped:
			escaped = false
		case inString:
			escaped, inString = c == '\\', c != '"'
		case c == '"':
			inString = true
		case c == '[' || c == '{':
			depth++
			size += 1 + 2*depth
		case c == ',':
			size += 1 + 2*depth
		case c == ']' || c == '}':
			depth--
			size += 1 + 2*depth
		}
	}
	return size
}

// compact is a form's value without the white space of its layout, which does not count
// toward the longest value. Text that is not JSON stays as it is: the gateway refuses it.
func compact(value string) string {
	v := jsontext.Value(value)
	if v.Format(jsontext.PreserveRawStrings(true)) != nil {
		return value
	}
	return string(v)
}

// kindOf names a value's JSON type.
func kindOf(value string) string {
	switch jsontext.Value(value).Kind() {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case '0':
		return "number"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "unknown"
}

// sizeOf is a length in bytes for users.
func sizeOf(n int) string {
	if n < 1024 {
		return plural(n, "byte")
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/1024)
}

// plural counts things: 1 key, 1,200 keys.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return thousands(uint64(n)) + " " + thing + "s"
}

func thousands(n uint64) string { return text.Thousands(n) }

// isMask reports whether a value is the mask of a secret: the gateway returns only
// that, unless secrets are revealed.
func isMask(value string) bool { return value == `"***"` }

// firstLine is a message for a row of a table.
func firstLine(message string) string {
	line, _, more := strings.Cut(message, "\n")
	line, cut := begin(line, 200)
	if more || cut {
		line += " …"
	}
	return visible(line)
}
