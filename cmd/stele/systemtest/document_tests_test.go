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
var namedTest = regexp.MustCompile("`(Test\\w+|Fuzz\\w+)[`/]")

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

// TestDocuments_TablesNameTests checks that each promise of docs/threat-model.md, and each threat
// of docs/security.md, names a test or a script.
func TestDocuments_TablesNameTests(t *testing.T) {
	named := regexp.MustCompile(namedTest.String() + "|`(\\./)?scripts/\\w+")
	for _, document := range []struct {
		name, table string // the beginning of its table
		rows        int
	}{{"threat-model.md", "| hostile |", 10}, {"security.md", "| threat |", 70}} {
		text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", document.name))
		if err != nil {
			t.Fatal(err)
		}
		_, table, _ := strings.Cut(string(text), "\n"+document.table)
		table, _, _ = strings.Cut(table, "\n\n")
		rows := 0
		for line := range strings.Lines(table) {
			if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") {
				continue
			}
			rows++
			if !named.MatchString(line) {
				t.Errorf("%s names no test for: %s", document.name, line)
			}
		}
		if rows < document.rows {
			t.Errorf("only %d rows of %s were read", rows, document.name)
		}
	}
}
