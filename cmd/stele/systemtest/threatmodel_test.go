package systemtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestThreatModel_NamedTestsExist checks that each promise of docs/threat-model.md, and each threat
// of docs/security.md, names tests, and that they exist.
func TestThreatModel_NamedTestsExist(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	declared := regexp.MustCompile(`(?m)^func (Test\w+|Fuzz\w+)\(`)
	var tests []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root:
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			tests = append(tests, string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+|Fuzz\\w+|scripts/\\w+)[`/ ]")
	for _, doc := range []struct {
		name, table string // the beginning of its table
		rows        int
	}{{"threat-model.md", "| hostile |", 10}, {"security.md", "| threat |", 70}} {
		text, err := os.ReadFile(filepath.Join(root, "docs", doc.name))
		if err != nil {
			t.Fatal(err)
		}
		_, table, _ := strings.Cut(string(text), "\n"+doc.table)
		table, _, _ = strings.Cut(table, "\n\n")
		rows := 0
		for line := range strings.Lines(table) {
			if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") {
				continue
			}
			rows++
			found := named.FindAllStringSubmatch(line, -1)
			if len(found) == 0 {
				t.Errorf("%s names no test for: %s", doc.name, line)
			}
			for _, m := range found {
				_, script := os.Stat(filepath.Join(root, m[1]))
				if script != nil && !slices.Contains(tests, m[1]) {
					t.Errorf("%s names %s, which does not exist", doc.name, m[1])
				}
			}
		}
		if rows < doc.rows {
			t.Errorf("only %d rows of %s were read", rows, doc.name)
		}
	}
}
