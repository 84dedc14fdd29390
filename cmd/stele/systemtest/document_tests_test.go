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

// namedTest is a test in the text of a document.
var namedTest = regexp.MustCompile("`(Test\\w+|Fuzz\\w+)`")

// declaredTests are the names of all tests and fuzz targets in the repository.
func declaredTests(t *testing.T, root string) (names []string) {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func (Test\w+|Fuzz\w+)\(`)
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
			names = append(names, string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestDocuments_NamedTestsExist checks that each test that a document names exists.
func TestDocuments_NamedTestsExist(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	tests := declaredTests(t, root)
	documents, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, path := range append(documents, filepath.Join(root, "CONTRIBUTING.md")) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range namedTest.FindAllSubmatch(text, -1) {
			named++
			if !slices.Contains(tests, string(m[1])) {
				t.Errorf("%s names the test %s, which does not exist", filepath.Base(path), m[1])
			}
		}
	}
	if named < 100 {
		t.Errorf("the documents name only %d tests", named)
	}
}

// TestThreatModel_NamesTests checks that each promise of docs/threat-model.md names a test.
func TestThreatModel_NamesTests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| hostile |")
	rows := 0
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") || strings.HasPrefix(line, "| promise") {
			continue
		}
		rows++
		if !namedTest.MatchString(line) {
			t.Errorf("no test is named for: %s", line)
		}
	}
	if rows < 10 {
		t.Errorf("only %d rows were read", rows)
	}
}
