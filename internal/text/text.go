// Package text formats strings and numbers for messages.
package text

import (
	"strconv"
	"strings"
)

// Clip returns s, or if it has more than most bytes their beginning and "...", so that
// what a caller sends cannot fill a message. Bytes at the cut that are not UTF-8 are
// left out.
func Clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// Count is a number of things: 1 key, 1,200 keys.
func Count(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return Thousands(n) + " " + thing + "s"
}

// Thousands writes a number with separators, for example 2,210.
func Thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
