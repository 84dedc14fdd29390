package output_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Commands write to standard output by a Printer, and to standard error by Stderr: only these
// escape other users' text on a terminal. Programs that a command runs, progress bars and line
// ends need neither.
func TestStderr_IsUsedByAllCommands(t *testing.T) {
	direct := regexp.MustCompile(`os\.Std(out|err)\b|\bfmt\.Print|\bprintln\(`)
	allowed := []string{"cmd.Stdout, cmd.Stderr = ", "Stdin, run.Stdout, run.Stderr = ", "cmd.Stdin, cmd.Stdout, cmd.Stderr = ", "output.NewPrinter(os.Std", "OptionSetWriter(os.Stderr)", "fmt.Fprintln(os.Stderr)\n",
		"auditExport(ctx, s, os.Stdout, key, from, to)"} // a file of JSON whose texts are encoded
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "test/") || filepath.Dir(path) == filepath.Join("..", "output") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
	lines:
		for line := range strings.Lines(string(text)) {
			if !direct.MatchString(line) {
				continue
			}
			for _, part := range allowed {
				if strings.Contains(line, part) {
					continue lines
				}
			}
			t.Errorf("%s writes to a terminal as it is: %s", path, strings.TrimSpace(line))
		}
		return nil
	})
	if err != nil || files < 100 {
		t.Errorf("%d files were read: %v", files, err)
	}
}
