package output

import (
	"fmt"
	"strings"
)

// Warn prints a warning.
func Warn(message string) { fmt.Fprintln(Stderr, "warning: "+message) }

// Count returns a number and a noun, in the plural unless the number is 1.
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// ShellQuote quotes a word for a POSIX shell, if it needs quotes.
func ShellQuote(s string) string {
	plain := strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@") == ""
	if plain && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
