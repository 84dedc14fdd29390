// Package format writes values, counts and times as the console's pages show them.
package format

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger/secret"
	"github.com/stelehq/stele/internal/text"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// shortValue is how much of a value a row of a table shows, in bytes.
const shortValue = 160

// Visible escapes invisible characters and those that change the direction of the text
// around them. In a JSON string that does not change the meaning.
func Visible(s string) string { return text.Escape(s, text.Hidden) }

// Short is a value for a row of a table.
func Short(value string) string {
	s, cut := Begin(value, shortValue)
	if cut {
		s += "…"
	}
	return Visible(s)
}

// Begin is the first part of a text, and whether there is more.
func Begin(s string, most int) (string, bool) {
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

// Pretty is a value over several lines, or as it is if those would be too long. Numbers and
// strings stay as they are written.
func Pretty(value string) string {
	v := jsontext.Value(value)
	if layoutSize(value) > maxLayout || v.Format(jsontext.PreserveRawStrings(true), jsontext.SpaceAfterColon(true), jsontext.Multiline(true), jsontext.WithIndent("  ")) != nil {
		return Visible(value)
	}
	return Visible(string(v))
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

// Compact is a form's value without the white space of its layout, which does not count
// toward the longest value. Text that is not JSON stays as it is: the gateway refuses it.
func Compact(value string) string {
	v := jsontext.Value(value)
	if v.Format(jsontext.PreserveRawStrings(true)) != nil {
		return value
	}
	return string(v)
}

// KindOf names a value's JSON type.
func KindOf(value string) string {
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

// Size is a length in bytes for users.
func Size(n int) string {
	if n < 1024 {
		return Plural(n, "byte")
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/1024)
}

// Plural counts things: 1 key, 1,200 keys.
func Plural(n int, thing string) string { return text.Count(uint64(n), thing) }

func Thousands(n uint64) string { return text.Thousands(n) }

// IsMask reports whether a value is the mask of a secret: the gateway returns only
// that, unless secrets are revealed.
func IsMask(value string) bool { return value == string(secret.Mask) }

// FirstLine is a message for a row of a table.
func FirstLine(message string) string {
	line, _, more := strings.Cut(message, "\n")
	line, cut := Begin(line, 200)
	if more || cut {
		line += " …"
	}
	return Visible(line)
}

// Number is a number as URLs and forms have it.
func Number(n uint64) string { return strconv.FormatUint(n, 10) }

// BaseCommit is a commit of a base: defaults@18.
func BaseCommit(b *stelev1.BaseRef) string { return b.Tenant + Revision(b.Revision) }

// Possessive is a name before what belongs to it: acme's, defaults'.
func Possessive(name string) string {
	if strings.HasSuffix(name, "s") {
		return name + "'"
	}
	return name + "'s"
}

// Revision is a revision with its "@".
func Revision(n uint64) string { return "@" + Number(n) }
