package files

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/document"
)

// write makes files, by their paths.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// items returns the items of a source, one per line.
func items(t *testing.T, s *Source) []string {
	t.Helper()
	var lines []string
	for step, err := range s.Steps(t.Context()) {
		if err != nil || !step.State {
			t.Fatalf("%+v, %v", step, err)
		}
		for _, i := range step.Items {
			lines = append(lines, fmt.Sprintf("%s=%s %v%s", i.Name, i.Value, i.Fault, i.Remark))
		}
	}
	return lines
}

func TestOpen(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, outside, map[string]string{"secret.yaml": "1"})
	write(t, dir, map[string]string{
		"a.yaml": "x: 1\n", "b/c.properties": "k=\xfc\n", "b/.env": "A=1", "b/notes": "", ".git/config.json": "1",
		"twice.json": "\"\xff\xff\"", "twice.toml": "x = 1", "b/d.json": "1", "b/d.yaml": "2",
		"templates/a.yaml": "a: {{ .Values.a }}",
	})
	for link, target := range map[string]string{"link.yaml": "a.yaml", "out.yaml": filepath.Join(outside, "secret.yaml"), "out": outside} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(t.Context(), Config{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`a={"x":1} <nil>`, `b/.env={"A":"1"} <nil>`, `b/c= <nil>read as Latin-1, because it is not valid UTF-8`, `b/c={"k":"ü"} <nil>`,
		`b/d=1 <nil>`, `twice={"x":1} <nil>`, `b/d=2 both b/d.json and b/d.yaml define it`,
		`twice= twice.json: it is neither UTF-8 nor UTF-16 text`,
	}
	if d := cmp.Diff(want, items(t, s)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	skipped := document.Skipped{
		Formats:   map[string]*document.Class{"": {Count: 1, Examples: []string{"b/notes"}}},
		Links:     document.Class{Count: 3, Examples: []string{"link.yaml", "out", "out.yaml"}},
		Templates: document.Class{Count: 1, Examples: []string{"templates/a.yaml"}},
	}
	if d := cmp.Diff(skipped, s.Skipped()); d != "" {
		t.Errorf("skipped (-want +got):\n%s", d)
	}
	if s, err = Open(t.Context(), Config{Path: dir, Root: "b/", Flatten: true}); err != nil {
		t.Fatal(err)
	}
	want = []string{`b/.env/A="1" <nil>`, `b/c= <nil>read as Latin-1, because it is not valid UTF-8`, `b/c/k="ü" <nil>`, `b/d=1 <nil>`, `b/d=2 both b/d.json and b/d.yaml define it`}
	if d := cmp.Diff(want, items(t, s)); d != "" {
		t.Errorf("flattened (-want +got):\n%s", d)
	}
}

func TestOpen_TooLarge(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a.json": `"` + string(make([]byte, document.MaxSize)) + `"`})
	s, err := Open(t.Context(), Config{Path: filepath.Join(dir, "a.json")})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{fmt.Sprintf("a= a.json: the file has more than %d bytes", document.MaxSize)}
	if d := cmp.Diff(want, items(t, s)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
