package directory_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/directory"
	"pgregory.net/rapid"
)

// file is what the model says of one.
type file struct {
	text string
	// the write that it is from; zero for a file that was added by hand.
	write projector.Write
}

// model is a tenant's files by path.
type model map[string]file

// apply does what Write must do: deletions first, then by key. It returns the keys
// that are refused.
func (m model) apply(writes []projector.Write) (refused []ledger.Key) {
	for _, w := range writes {
		if w.Deleted() {
			delete(m, string(w.Key))
		}
	}
	slices.SortFunc(writes, func(a, b projector.Write) int { return strings.Compare(string(a.Key), string(b.Key)) })
	for _, w := range writes {
		if w.Deleted() {
			continue
		}
		var strangers []string
		blocked := false
		for path, f := range m {
			if strings.HasPrefix(path, string(w.Key)+"/") || strings.HasPrefix(string(w.Key), path+"/") {
				strangers = append(strangers, path)
				blocked = blocked || f.write.Revision > 0
			}
		}
		if blocked {
			refused = append(refused, w.Key)
			continue
		}
		for _, path := range strangers {
			delete(m, path)
		}
		m[string(w.Key)] = file{plain(w.Value), w}
	}
	return refused
}

// plain is a value as a file; the model's strings need no unquoting except for their
// quotes.
func plain(v ledger.Value) string { return strings.Trim(string(v), `"`) }

// visible reads a tenant's files as a program does that looks for all of them.
func visible(t failer, dir string) map[string]string {
	files := make(map[string]string)
	tops, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatalf("%v", err)
	}
	for _, top := range tops {
		if strings.HasPrefix(top.Name(), "..") {
			continue
		}
		at, err := filepath.EvalSymlinks(filepath.Join(dir, top.Name()))
		if os.IsNotExist(err) { // as open finds it
			continue
		}
		err = filepath.WalkDir(at, func(p string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			text, err := os.ReadFile(p)
			files[top.Name()+p[len(at):]] = string(text)
			return err
		})
		if err != nil {
			t.Fatalf("%v", err)
		}
	}
	return files
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func (m model) texts() map[string]string {
	texts := make(map[string]string)
	for path, f := range m {
		texts[path] = f.text
	}
	return texts
}

// segment makes few names, so that keys meet.
var segment = rapid.SampledFrom([]string{"a", "b", "c.d", "..x"})

func path(t *rapid.T) string {
	for {
		p := strings.Join(rapid.SliceOfN(segment, 1, 3).Draw(t, "path"), "/")
		if !strings.HasPrefix(p, "..") {
			return p
		}
	}
}

// The files that programs see equal a model, whatever is written, edited, added and
// deleted, and wherever a write is killed; and a scan classifies each file correctly.
func TestWrite_EqualsAModel(t *testing.T) {
	dir := memory(t)
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		root := filepath.Join(dir, fmt.Sprint(runs))
		acme := filepath.Join(root, "files", "acme")
		m := make(model)
		// Deleted by hand since the last version: one that is made there by hand is
		// taken for the one that was.
		gone := make(map[string]bool)
		revision := ledger.Revision(0)
		// A sink of its own for each write, as after a restart.
		sink := func() *directory.Sink {
			s, err := open(t.Context(), projector.Settings{Epoch: ledger.Epoch{1}, Dir: root})
			if err != nil {
				t.Fatalf("%v", err)
			}
			return s.(*directory.Sink)
		}
		sink() // marks its directory, before anything is put there by hand
		draw := func(t *rapid.T) []projector.Write {
			revision++
			var writes []projector.Write
			for _, key := range rapid.SliceOfNDistinct(rapid.Custom(path), 1, 5, rapid.ID).Draw(t, "keys") {
				w := projector.Write{Tenant: "acme", Key: ledger.Key(key), Revision: revision}
				if rapid.IntRange(0, 3).Draw(t, "set") > 0 {
					w.Value = ledger.Value(fmt.Sprintf(rapid.SampledFrom([]string{`%d`, `"%d"`, `"x%d"`}).Draw(t, "value"), revision))
				}
				writes = append(writes, w)
			}
			return writes
		}
		check := func() {
			if d := cmp.Diff(m.texts(), visible(t, acme)); d != "" {
				t.Fatalf("the files (+) are not the model's (-): %s", d)
			}
		}
		// byHand is a path at which a file can be added by hand: no other file blocks
		// it.
		byHand := func(p string) bool {
			for other := range m {
				if strings.HasPrefix(other, p+"/") || strings.HasPrefix(p, other+"/") {
					return false
				}
			}
			if info, err := os.Stat(filepath.Join(acme, p)); err == nil && info.IsDir() { // and empty
				return false
			}
			return os.MkdirAll(filepath.Dir(filepath.Join(acme, p)), 0o700) == nil
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				writes := draw(t)
				errs, err := sink().Write(t.Context(), writes)
				if err != nil {
					t.Fatalf("%v", err)
				}
				var refused []ledger.Key
				for i, err := range errs {
					if err != nil {
						refused = append(refused, writes[i].Key)
					}
				}
				slices.Sort(refused)
				if d := cmp.Diff(m.apply(slices.Clone(writes)), refused); d != "" {
					t.Fatalf("refused (+) and what should be (-): %s", d)
				}
				if len(refused) < len(writes) {
					clear(gone)
				}
			},
			"killed": func(t *rapid.T) {
				writes := draw(t)
				at := rapid.IntRange(1, 20).Draw(t, "at")
				s := sink()
				if !dies(s, at, func() { s.Write(t.Context(), writes) }) {
					m.apply(slices.Clone(writes)) // it had fewer steps
					return
				}
				next := maps.Clone(m)
				next.apply(slices.Clone(writes))
				if cmp.Equal(next.texts(), visible(t, acme)) {
					m = next
				}
			},
			"edit": func(t *rapid.T) {
				p := path(t)
				if gone[p] || !byHand(p) {
					t.Skip("in the way")
				}
				f := m[p]
				f.text = rapid.SampledFrom([]string{"", "hand", "-7", "true\n"}).Draw(t, "text")
				err := os.WriteFile(filepath.Join(acme, p), []byte(f.text), 0o600)
				switch {
				case os.IsNotExist(err):
					t.Skip("a killed write has left a link to nothing")
				case err != nil:
					t.Fatalf("%v", err)
				}
				m[p] = f
			},
			"delete": func(t *rapid.T) {
				if len(m) == 0 {
					t.Skip("nothing there")
				}
				p := rapid.SampledFrom(slices.Sorted(maps.Keys(m))).Draw(t, "file")
				at, err := filepath.EvalSymlinks(filepath.Join(acme, p)) // the file, where the path is a link of the sink's
				_, taken := os.Stat(filepath.Join(acme, "..data", p))
				if top, err := os.Lstat(filepath.Join(acme, p)); err == nil && taken == nil && !strings.Contains(p, "/") && top.Mode().IsRegular() {
					t.Skip("a killed write has taken the file in, and its link would be put back")
				}
				if err == nil {
					err = os.Remove(at)
				}
				if err != nil {
					t.Fatalf("%v", err)
				}
				delete(m, p)
				gone[p] = true
			},
			"scan": func(t *rapid.T) {
				s := sink()
				seen := make(map[string]bool)
				err := s.Scan(t.Context(), "acme", func(i projector.Item) error {
					if i.Value == "" {
						return nil // a tombstone
					}
					f, there := m[string(i.Key)]
					edited := f.text != plain(f.write.Value)
					if !there || i.Revision != f.write.Revision || f.write.Revision > 0 && s.Same(i, f.write) == edited {
						t.Fatalf("%s is %s %q, the model says %+v", i.Name, i.Revision, i.Value, f)
					}
					seen[string(i.Key)] = true
					return nil
				})
				if err != nil || len(seen) != len(m) {
					t.Fatalf("the scan yields %v of %v, %v", seen, m, err)
				}
			},
			"": func(*rapid.T) { check() },
		})
	})
}

type killed struct{}

// dies reports whether a call of the sink's came to its step number n, where it ends: a
// write has nothing that it does on its way out.
func dies(s *directory.Sink, n int, call func()) (dead bool) {
	s.OnStep(func(string) {
		if n--; n == 0 {
			panic(killed{})
		}
	})
	defer func() {
		if p := recover(); p != nil {
			if _, dead = p.(killed); !dead {
				panic(p)
			}
		}
	}()
	call()
	return false
}
