package systemtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stelehq/stele/cmd/stele/internal/cli"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
)

// commandsOf are the lines in a document's code that run stele.
func commandsOf(t *testing.T, name string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../../docs", name))
	if err != nil {
		t.Fatal(err)
	}
	inCode := false
	for line := range strings.SplitSeq(string(text), "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") {
			inCode = !inCode && (line == "```sh" || line == "```console")
			continue
		}
		if command, ok := strings.CutPrefix(strings.TrimPrefix(line, "$ "), "stele "); ok && inCode {
			lines = append(lines, command)
		}
	}
	return lines
}

// words are a line's as the shell reads it, up to what is another command's.
func words(line string) (words []string) {
	for _, w := range regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`).FindAllString(line, -1) {
		if strings.ContainsAny(w[:1], "#|>&") {
			break
		}
		words = append(words, strings.Trim(w, `'"`))
	}
	return words
}

// The program accepts the commands in the pages on migration and operations.
func TestCommandsOfTheDocumentsAreOnes(t *testing.T) {
	for _, name := range []string{"migrate.md", "operations.md"} {
		lines := commandsOf(t, name)
		if len(lines) < 5 {
			t.Errorf("%s has %d commands", name, len(lines))
		}
		for _, line := range lines {
			root := cli.RootCommand(new(session.Flags))
			cmd, rest, err := root.Find(words(line))
			if err != nil || cmd == root {
				t.Errorf("%s: stele %s: %v", name, line, err)
				continue
			}
			if err := cmd.ParseFlags(rest); err != nil {
				t.Errorf("%s: stele %s: %v", name, line, err)
			}
			if cmd.Args == nil {
				continue
			}
			if err := cmd.Args(cmd, cmd.Flags().Args()); err != nil {
				t.Errorf("%s: stele %s: %v", name, line, err)
			}
		}
	}
}

// Every metric that a document tells to look at is one.
func TestMetricsOfTheDocumentsAreOnes(t *testing.T) {
	var sources strings.Builder
	for _, pattern := range []string{"gateway/*.go", "gateway/conn/*.go", "projector/*.go"} {
		files, err := filepath.Glob("../../../internal/" + pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sources.Write(text)
		}
	}
	text, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`stele_[a-z_]+`).FindAllString(string(text), -1)
	if len(names) < 15 {
		t.Errorf("there are %d metrics", len(names))
	}
	for _, name := range names {
		if !strings.Contains(sources.String(), `"`+name+`"`) {
			t.Errorf("there is no metric %s", name)
		}
	}
}
