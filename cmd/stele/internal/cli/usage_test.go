package cli

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
)

func TestHelp_FitsInEightyColumns(t *testing.T) {
	root := RootCommand(&session.Flags{})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	commands := 0
	var check func(*cobra.Command)
	check = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			check(sub)
		}
		if cmd.CommandPath() != "stele" && (cmd.Name() == "help" || strings.HasPrefix(cmd.CommandPath(), "stele completion")) {
			return // cobra's own texts
		}
		commands++
		var help bytes.Buffer
		cmd.SetOut(&help)
		if err := cmd.Help(); err != nil {
			t.Fatalf("%s: %v", cmd.CommandPath(), err)
		}
		if !strings.Contains(help.String(), "Usage:") {
			t.Errorf("%s --help has no usage:\n%s", cmd.CommandPath(), &help)
		}
		for line := range strings.Lines(help.String()) {
			if n := utf8.RuneCountInString(line) - 1; n > 80 {
				t.Errorf("%s --help has a line of %d characters: %s", cmd.CommandPath(), n, line)
			}
		}
	}
	check(root)
	if commands < 60 {
		t.Errorf("only %d commands were checked", commands)
	}
}
