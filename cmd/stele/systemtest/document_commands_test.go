package systemtest

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stelehq/stele/cmd/stele/internal/cli"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"go.yaml.in/yaml/v3"
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
func TestDocuments_CommandsExist(t *testing.T) {
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

// Every metric in a document and in the alerts exists.
func TestMetrics_OfDocumentsAndAlerts(t *testing.T) {
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
	var names []string
	for _, file := range []string{"../../../docs/operations.md", "../../../docs/serve.md", alerts} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, regexp.MustCompile(`stele_[a-z_]+`).FindAllString(string(text), -1)...)
	}
	if len(names) < 30 {
		t.Errorf("there are %d metrics", len(names))
	}
	for _, name := range names {
		if name := strings.TrimSuffix(name, "_bucket"); !strings.Contains(sources.String(), `"`+name+`"`) {
			t.Errorf("there is no metric %s", name)
		}
	}
}

const alerts = "../../../scripts/deploy/prometheus/alerts.yaml"

// Every alert has a row in the document that says what to do, and every row an alert. Its links
// lead to sections.
func TestAlerts_AreExplained(t *testing.T) {
	text, err := os.ReadFile(alerts)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct{ Rules []struct{ Alert string } }
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	explained := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| `(Stele[A-Za-z]+)` \\|(.*)$").FindAllStringSubmatch(string(text), -1) {
		explained[row[1]] = true
		for _, link := range regexp.MustCompile(`\]\(([a-z.]*)#([a-z-]+)\)`).FindAllStringSubmatch(row[2], -1) {
			target, err := os.ReadFile(filepath.Join("../../../docs", cmp.Or(link[1], "operations.md")))
			if err != nil {
				t.Fatal(err)
			}
			heading := regexp.MustCompile(`(?im)^#+ ` + strings.ReplaceAll(link[2], "-", "[ -]") + `$`)
			if !heading.Match(target) {
				t.Errorf("%s: %s has no section %s", row[1], cmp.Or(link[1], "the document"), link[2])
			}
		}
	}
	rules := 0
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			rules++
			if !explained[rule.Alert] {
				t.Errorf("docs/operations.md does not explain %s", rule.Alert)
			}
			delete(explained, rule.Alert)
		}
	}
	if rules < 20 || len(explained) > 0 {
		t.Errorf("there are %d alerts, and the document also explains %v", rules, explained)
	}
}
