package directory

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

func openIn(t *testing.T, dir, name, path string) error {
	t.Helper()
	s, err := Open(t.Context(), projector.Settings{Name: name, Dir: dir, JSON: []byte(`{"path": "` + path + `"}`)})
	if err == nil {
		_, err = s.Write(t.Context(), []projector.Write{{Tenant: "acme", Key: "a/b", Value: "1", Revision: 1}})
	}
	return err
}

// A directory that holds anything is a sink's only if it was that before: another's
// files are neither read, adopted, nor replaced by links.
func TestOpen_Marker(t *testing.T) {
	dir := t.TempDir()
	full := filepath.Join(dir, "full")
	if err := os.MkdirAll(filepath.Join(full, "etc"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(full, "etc", "passwd"), []byte("root"), 0o600); err != nil {
		t.Fatal(err)
	}
	killed := filepath.Join(dir, "killed")
	if err := os.Mkdir(killed, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(killed, ".new-1"), []byte("sink"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ sink, path, wantInside string }{
		{"a", "killed", ""},
		{"a", "a", ""},
		{"a", "a", ""},
		{"b", "a", `belongs to "sink a"`},
		{"b", "a/acme", "inside"},
		{"b", "a/acme/a", "inside"},
		{"b", "a/globex", "inside"},
		{"b", ".", "is not empty"},
		{"b", "full", "is not empty"},
		{"b", "deep/er", ""},
	} {
		switch err := openIn(t, dir, tc.sink, tc.path); {
		case tc.wantInside == "" && err != nil:
			t.Errorf("%s in %s: %v", tc.sink, tc.path, err)
		case tc.wantInside != "" && (err == nil || !strings.Contains(err.Error(), tc.wantInside)):
			t.Errorf("%s in %s: %v, want %q", tc.sink, tc.path, err, tc.wantInside)
		}
	}
	if info, err := os.Lstat(filepath.Join(full, "etc")); err != nil || !info.IsDir() {
		t.Errorf("the other directory was changed: %v", err)
	}
}

// A sink's directory that was deleted while it was open is marked again, so that the
// next start finds its own.
func TestWrite_RootWasDeleted(t *testing.T) {
	dir := t.TempDir()
	settings := projector.Settings{Name: "files", Dir: dir, JSON: []byte(`{}`), Epoch: ledger.Epoch{1}}
	s, err := Open(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "files")); err != nil {
		t.Fatal(err)
	}
	errs, err := s.Write(t.Context(), []projector.Write{{Tenant: "acme", Key: "a/b", Value: "1", Revision: 1}})
	if err != nil || errs[0] != nil {
		t.Fatal(err, errs)
	}
	if _, err := Open(t.Context(), settings); err != nil {
		t.Error(err)
	}
}
