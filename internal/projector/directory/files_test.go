package directory_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// stand is a sink in a folder of its own.
type stand struct {
	*testing.T
	dir, acme string
	json      string
	store     projector.Store
	revision  ledger.Revision
}

func newStand(t *testing.T, json string) *stand {
	t.Helper()
	s := &stand{T: t, dir: memory(t), json: json}
	s.acme = filepath.Join(s.dir, "files", "acme")
	s.reopen()
	return s
}

func (s *stand) reopen() {
	s.Helper()
	store, err := open(s.Context(), projector.Settings{Epoch: ledger.Epoch{1}, Dir: s.dir, JSON: []byte(s.json)})
	if err != nil {
		s.Fatal(err)
	}
	s.store = store
}

// write makes a commit of keys and values, an empty value for a deletion, and
// returns the writes and an error for each.
func (s *stand) write(kv ...string) ([]projector.Write, []error) {
	s.Helper()
	s.revision++
	var writes []projector.Write
	for i := 0; i < len(kv); i += 2 {
		writes = append(writes, projector.Write{Tenant: "acme", Key: ledger.Key(kv[i]), Value: ledger.Value(kv[i+1]), Revision: s.revision})
	}
	errs, err := s.store.Write(s.Context(), writes)
	if err != nil {
		s.Fatal(err)
	}
	return writes, errs
}

func (s *stand) must(kv ...string) []projector.Write {
	s.Helper()
	writes, errs := s.write(kv...)
	if err := errors.Join(errs...); err != nil {
		s.Fatal(err)
	}
	return writes
}

func (s *stand) files(want map[string]string) {
	s.Helper()
	if d := cmp.Diff(want, visible(s, s.acme)); d != "" {
		s.Errorf("the files (+) are not those that should be (-): %s", d)
	}
}

func (s *stand) version() string {
	s.Helper()
	link, err := os.Readlink(filepath.Join(s.acme, "..data"))
	if err != nil {
		s.Fatal(err)
	}
	return link
}

// The guarantees of the package comment to programs.
func TestLayout(t *testing.T) {
	s := newStand(t, `{}`)
	s.must("tenantconfig/checkout/timeout_ms", `250`, "tenantconfig/checkout/bank", `"zürich"`, "flag", `true`, "doc", `{"b":1.0,"a":[]}`, "empty", `""`)
	s.files(map[string]string{
		"tenantconfig/checkout/timeout_ms": "250", "tenantconfig/checkout/bank": "zürich", "flag": "true", "doc": `{"b":1.0,"a":[]}`, "empty": "",
	})
	first := s.version()
	kept := filepath.Join(s.acme, first, "flag")
	before, err := os.Stat(kept)
	if err != nil {
		t.Fatal(err)
	}
	s.must("tenantconfig/checkout/timeout_ms", `300`, "doc", "")
	second := s.version()
	s.files(map[string]string{"tenantconfig/checkout/timeout_ms": "300", "tenantconfig/checkout/bank": "zürich", "flag": "true", "empty": ""})
	if text, err := os.ReadFile(filepath.Join(s.acme, first, "tenantconfig/checkout/timeout_ms")); err != nil || string(text) != "250" {
		t.Errorf("the version before says %q, %v", text, err)
	}
	if after, err := os.Stat(filepath.Join(s.acme, "flag")); err != nil || !os.SameFile(before, after) {
		t.Errorf("a file that did not change is not the same: %v", err)
	}
	s.must("new", `1`)
	entries, err := os.ReadDir(s.acme)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := []string{"..data", second, s.version(), "empty", "flag", "new", "tenantconfig"}
	slices.Sort(want)
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("the tenant's folder is (+), not (-): %s", d)
	}
	if !strings.HasPrefix(s.version(), "..3-") {
		t.Errorf("the version as of @3 is %s", s.version())
	}
	same := s.version()
	if _, err := s.store.Write(t.Context(), []projector.Write{{Tenant: "acme", Key: "new", Value: `1`, Revision: 3}}); err != nil || s.version() != same {
		t.Errorf("what is there already made a version: %v", err)
	}
}

func TestMode_OfFiles(t *testing.T) {
	for json, want := range map[string][2]fs.FileMode{
		`{}`:              {0o600, 0o700},
		`{"mode":"0640"}`: {0o640, 0o750},
		`{"mode":"0644"}`: {0o644, 0o755},
	} {
		s := newStand(t, json)
		s.must("a/b/c", `1`)
		for _, p := range []string{s.dir + "/files", s.acme, s.acme + "/..data/", s.acme + "/a/", s.acme + "/a/b", s.acme + "/a/b/c", s.acme + "/..data/..stele"} {
			info, err := os.Stat(p)
			if err != nil {
				t.Fatal(err)
			}
			mode := want[0]
			if info.IsDir() {
				mode = want[1]
			}
			if info.Mode().Perm() != mode {
				t.Errorf("%s: %s is %v, not %v", json, p, info.Mode().Perm(), mode)
			}
		}
	}
}

// Another mode is another route of the sink's, and so everything is written again.
func TestMode_ChangeRewritesFiles(t *testing.T) {
	s := newStand(t, `{}`)
	w := s.must("a/b", `1`)[0]
	s.json = `{"mode":"0644"}`
	s.reopen()
	if item, _, err := s.store.Read(t.Context(), "acme/a/b"); err != nil || s.store.Same(item, w) {
		t.Errorf("a file that others cannot read is as it should be: %v", err)
	}
	if _, err := s.store.Write(t.Context(), []projector.Write{w}); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]fs.FileMode{s.acme: 0o755, s.acme + "/a/b": 0o644} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s is %v, not %v: %v", p, info.Mode(), want, err)
		}
	}
}

func TestSettings_Validation(t *testing.T) {
	for json, want := range map[string]string{
		`{"mode":"600x"}`:          "use 0600",
		`{"mode":"0777"}`:          "use 0600",
		`{"mode":"0440"}`:          "use 0600",
		`{"folder":"/srv"}`:        "unknown",
		`{"path":"/dev/null/sub"}`: "not a directory",
	} {
		if _, err := open(t.Context(), projector.Settings{Local: true, Dir: t.TempDir(), JSON: []byte(json)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", json, err, want)
		}
	}
	elsewhere := filepath.Join(t.TempDir(), "a", "b")
	if _, err := open(t.Context(), projector.Settings{Local: true, Dir: "/nowhere", JSON: fmt.Appendf(nil, `{"path":%q}`, elsewhere)}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(elsewhere); err != nil || !info.IsDir() {
		t.Errorf("the folder of the settings was not made: %v", err)
	}
}

func TestLayout_FileAndDirectoryConflict(t *testing.T) {
	for _, tc := range []struct {
		name    string
		commits [][]string
		refused string // key of the last commit
		files   map[string]string
	}{
		{"below one that is there", [][]string{{"a", `1`}, {"a/b", `2`, "c", `3`}}, "a/b", map[string]string{"a": "1", "c": "3"}},
		{"far below", [][]string{{"a", `1`}, {"a/b/c/d", `2`, "c", `3`}}, "a/b/c/d", map[string]string{"a": "1", "c": "3"}},
		{"above one that is there", [][]string{{"a/b", `1`}, {"a", `2`, "c", `3`}}, "a", map[string]string{"a/b": "1", "c": "3"}},
		{"both new", [][]string{{"a/b", `1`, "a", `2`, "c", `3`}}, "a/b", map[string]string{"a": "2", "c": "3"}},
		{"room is made below", [][]string{{"a", `1`}, {"a/b", `2`, "a", ""}}, "", map[string]string{"a/b": "2"}},
		{"room is made above", [][]string{{"a/b", `1`, "a/c", `1`}, {"a", `2`, "a/b", "", "a/c", ""}}, "", map[string]string{"a": "2"}},
		{"only some room", [][]string{{"a/b", `1`, "a/c", `1`}, {"a", `2`, "a/b", ""}}, "a", map[string]string{"a/c": "1"}},
		{"alike, but no folder", [][]string{{"a", `1`}, {"ab/c", `2`, "a-b", `3`}}, "", map[string]string{"a": "1", "ab/c": "2", "a-b": "3"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStand(t, `{}`)
			for _, commit := range tc.commits[:len(tc.commits)-1] {
				s.must(commit...)
			}
			writes, errs := s.write(tc.commits[len(tc.commits)-1]...)
			for i, err := range errs {
				_, refused := errors.AsType[*projector.RefusedError](err)
				if refused != (string(writes[i].Key) == tc.refused) || !refused && err != nil {
					t.Errorf("%s: %v", writes[i].Key, err)
				}
			}
			s.files(tc.files)
		})
	}
}

// Only a disk fault or a manual edit causes these.
func TestDrift_DamageIsRepaired(t *testing.T) {
	for name, damage := range map[string]func(s *stand) error{
		"a file that came out empty": func(s *stand) error { return os.Truncate(s.acme+"/a/b", 0) },
		"a file that is cut":         func(s *stand) error { return os.Truncate(s.acme+"/a/b", 3) },
		"a file that is longer":      func(s *stand) error { return os.WriteFile(s.acme+"/a/b", []byte("value\n"), 0o600) },
		"a file that others read":    func(s *stand) error { return os.Chmod(s.acme+"/a/b", 0o644) },
		"no file":                    func(s *stand) error { return os.Remove(s.acme + "/a/b") },
		"no folder":                  func(s *stand) error { return os.RemoveAll(s.acme + "/..data/a") },
		"no link":                    func(s *stand) error { return os.Remove(s.acme + "/a") },
		"no version":                 func(s *stand) error { return os.RemoveAll(filepath.Join(s.acme, s.version())) },
		"no tenant":                  func(s *stand) error { return os.RemoveAll(s.acme) },
		"no link to the version":     func(s *stand) error { return os.Remove(s.acme + "/..data") },
		"no book":                    func(s *stand) error { return os.Remove(s.acme + "/..data/..stele") },
		"an empty book":              func(s *stand) error { return os.Truncate(s.acme+"/..data/..stele", 0) },
		"half a book":                func(s *stand) error { return os.Truncate(s.acme+"/..data/..stele", 50) },
		"a link in its place": func(s *stand) error {
			return errors.Join(os.Remove(s.acme+"/a/b"), os.Symlink("/etc/passwd", s.acme+"/a/b"))
		},
		"a folder in its place": func(s *stand) error {
			return errors.Join(os.Remove(s.acme+"/a/b"), os.MkdirAll(s.acme+"/a/b/c", 0o700))
		},
		"a folder in the link's place": func(s *stand) error {
			return errors.Join(os.Remove(s.acme+"/a"), os.Mkdir(s.acme+"/a", 0o700), os.WriteFile(s.acme+"/a/b", []byte("other"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, `{}`)
			w := s.must("a/b", `"value"`)[0]
			if err := damage(s); err != nil {
				t.Fatal(err)
			}
			err := s.store.Scan(t.Context(), "acme", func(i projector.Item) error {
				if s.store.Same(i, w) {
					t.Errorf("it is scanned as if nothing were wrong: %+v", i)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			if item, ok, err := s.store.Read(t.Context(), "acme/a/b"); err != nil || ok && s.store.Same(item, w) {
				t.Errorf("it is read as if nothing were wrong: %+v, %v", item, err)
			}
			if errs, err := s.store.Write(t.Context(), []projector.Write{w}); err != nil || errs[0] != nil {
				t.Fatal(err, errs)
			}
			s.files(map[string]string{"a/b": "value"})
			if item, ok, err := s.store.Read(t.Context(), "acme/a/b"); err != nil || !ok || !s.store.Same(item, w) {
				t.Errorf("after the repair it is %+v, %v", item, err)
			}
		})
	}
}

// A file that cannot be a key's is reported, removed on request, and never adopted;
// files in other folders are not read.
func TestDrift_FilesWithoutAKey(t *testing.T) {
	s := newStand(t, `{}`)
	s.must("a/b", `1`)
	outside := filepath.Join(s.dir, "secret")
	put(t, outside, "secret")
	put(t, s.acme+"/a/with space", "x")
	put(t, s.acme+"/a/large", strings.Repeat("x", ledger.MaxValue+5))
	put(t, s.acme+"/a/binary", "a\xff\x00b")
	put(t, s.acme+"/top/file", "x")
	if err := os.Symlink(outside, s.acme+"/a/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(s.dir, s.acme+"/a/folder"); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]projector.Item)
	scan := func() map[string]ledger.Key {
		clear(seen)
		keys := make(map[string]ledger.Key)
		err := s.store.Scan(t.Context(), "acme", func(i projector.Item) error {
			seen[i.Name], keys[i.Name] = i, i.Key
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	want := map[string]ledger.Key{
		"acme/a/b": "a/b", "acme/a/with space": "", "acme/a/large": "a/large", "acme/a/binary": "a/binary", "acme/top/file": "top/file",
		"acme/a/link": "", "acme/a/folder": "",
	}
	if d := cmp.Diff(want, scan()); d != "" {
		t.Errorf("scanned (+), not (-): %s", d)
	}
	for name, item := range seen {
		if _, err := ledger.ParseValue(string(item.Value)); err != nil && name != "acme/a/large" {
			t.Errorf("%s says %.80q: %v", name, item.Value, err)
		}
		if strings.Contains(string(item.Value), "secret") {
			t.Errorf("%s shows another folder: %s", name, item.Value)
		}
		if again, ok, err := s.store.Read(t.Context(), name); err != nil || !ok || !cmp.Equal(again.Value, item.Value) || again.State != item.State {
			t.Errorf("%s is scanned as %.80q, read as %.80q, %v", name, item.Value, again.Value, err)
		}
	}
	for _, name := range []string{"acme/a/folder/secret", "acme/../acme/a/b", "acme/..data/a/b", "acme/..data", "acme", "acme/", "/acme/a/b", "ACME/a", "acme//a/b", "acme/a/../../../secret", "acme/."} {
		if item, ok, err := s.store.Read(t.Context(), name); ok {
			t.Errorf("%s is read: %q", name, item.Value)
		} else if _, refused := errors.AsType[*projector.RefusedError](err); !refused && name != "acme/a/folder/secret" {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	s.must("c", `2`) // they all stay in the next version
	if d := cmp.Diff(len(want)+1, len(scan())); d != "" {
		t.Errorf("scanned after a write: %s", d)
	}
	for name, item := range seen {
		if item.Revision == 0 {
			if err := s.store.Remove(t.Context(), item); err != nil {
				t.Errorf("remove %s: %v", name, err)
			}
		}
	}
	s.files(map[string]string{"a/b": "1", "c": "2"})
	if text, err := os.ReadFile(outside); err != nil || string(text) != "secret" {
		t.Errorf("a file outside was removed: %v", err)
	}
}
