package durable

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCreate_KeepsAnExistingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for range 2 {
		if err := Create(path, []byte("first")); err != nil {
			t.Fatal(err)
		}
	}
	if err := Create(path, []byte("second")); err != nil {
		t.Fatal(err)
	}
	check(t, path, "first", 0o600)
}

func TestReplace_AndPublishSetTheMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, step := range []struct {
		write   func(string, []byte) error
		content string
		mode    os.FileMode
	}{{Replace, "1", 0o600}, {Publish, "2", 0o644}, {Publish, "2", 0o644}, {Replace, "3", 0o600}} {
		if err := step.write(path, []byte(step.content)); err != nil {
			t.Fatal(err)
		}
		check(t, path, step.content, step.mode)
	}
}

// check also fails if a temporary file is left.
func check(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Errorf("it holds %q, %v", got, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
		t.Errorf("its mode is %v, %v, want %v", info.Mode(), err, mode)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
}
