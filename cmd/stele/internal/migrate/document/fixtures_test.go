package document

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRead_Repositories reads what repositories of Spring Cloud Config, Helm, Kustomize
// and Docker Compose contain. The expected values are those that the programs read.
func TestRead_Repositories(t *testing.T) {
	var got strings.Builder
	root := os.DirFS("testdata/repositories")
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, ok := Name(path)
		if !ok {
			got.WriteString(path + ": not read\n")
			return nil
		}
		data, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		doc, err := Read(path, data, false)
		if errors.Is(err, ErrTemplate) {
			got.WriteString(path + ": a template\n")
			return nil
		}
		if err != nil {
			return err
		}
		got.WriteString(name + " = " + doc.Values[name] + "\n")
		for _, remark := range doc.Remarks {
			got.WriteString("  " + remark + "\n")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/repositories.want")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
