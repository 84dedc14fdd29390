package page

import (
	"os/exec"
	"strings"
	"testing"
)

// TestCommand: a shell reads the words that a command was made of.
func TestCommand(t *testing.T) {
	words := []string{"", "plain", "a/b.c-d_e@42", "two words", "it's", `"double"`, "$HOME `id` $(id)", "*", "~", "#", "a\nb", "\\", "!", "-m", "ключ", "a;b|c&d>e<f(g)", "=x", "%1"}
	script := strings.TrimPrefix(Command(words).String(), "stele ")
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `printf '%s\0' `+script).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); strings.Join(got, "|") != strings.Join(words, "|") {
		t.Errorf("the shell reads %q", got)
	}
}
