package diff

import (
	"strings"
	"unicode/utf8"

	"github.com/stelehq/stele/internal/gateway/console/format"
)

// oneLine is the longest value, in bytes, that stays in one line.
const oneLine = 72

// sideValue is how much of one value of a pair is shown, in bytes.
const sideValue = 4 << 10

// leadIn is how much of what two values have in common is shown before the first
// difference, in bytes.
const leadIn = 256

// sides is a value before and after, as much of each as a page has room for. If either
// is longer, both begin shortly before they differ.
func sides(was, is string) (string, string) {
	was, is = valueLayout(was), valueLayout(is)
	if max(len(was), len(is)) <= sideValue {
		return was, is
	}
	from := 0
	if was != "" && is != "" {
		for from < min(len(was), len(is)) && was[from] == is[from] {
			from++
		}
		from = max(0, from-leadIn)
	}
	return excerpt(was, from), excerpt(is, from)
}

// scrolls reports whether a side may be higher than its place, which then takes the focus so
// that the keyboard can scroll it.
func scrolls(value string) bool { return strings.Count(value, "\n") > 10 || len(value) > 600 }

// valueLayout is a value as a page shows it: in one line if it is short.
func valueLayout(value string) string {
	if len(value) <= oneLine {
		return format.Visible(value)
	}
	return format.Pretty(value)
}

// excerpt is a text from a byte on, with a note about the omitted part.
func excerpt(s string, from int) string {
	for from < len(s) && !utf8.RuneStart(s[from]) {
		from++
	}
	from = min(from, len(s))
	out, cut := format.Begin(s[from:], sideValue)
	if from > 0 {
		out = "… from byte " + format.Thousands(uint64(from)) + "\n" + out
	}
	if cut {
		out += "\n… " + format.Size(len(s)) + " in all"
	}
	return out
}
