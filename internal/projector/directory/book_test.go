package directory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

func TestBook_ForgetsOldDeletions(t *testing.T) {
	b := book{entries: map[string]entry{
		"old": {1, deleted}, "kept": {1, isJSON}, "late": {2, deleted}, "new": {2 + keepDeleted, isString},
	}}
	got, err := parseBook(string(b.encode()))
	if err != nil {
		t.Fatal(err)
	}
	delete(b.entries, "old")
	if !reflect.DeepEqual(got, b) {
		t.Errorf("the book was read as %+v, not %+v", got, b)
	}
}

func FuzzParseBook(f *testing.F) {
	f.Add(string(book{epoch: ledger.Epoch{1}, previous: "..1-2", entries: map[string]entry{"a/b": {3, isString}, "c": {4, deleted}}}.encode()))
	f.Add(bookFormat + " 0102030405060708 \n1 json a\n1 json a\n")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := parseBook(text)
		if err != nil {
			return
		}
		again, err := parseBook(string(b.encode()))
		if err != nil {
			t.Fatalf("%q was read, and what it says is not: %v", text, err)
		}
		if len(again.entries) > len(b.entries) || again.epoch != b.epoch || again.previous != b.previous {
			t.Fatalf("%q is %+v and then %+v", text, b, again)
		}
	})
}

// FuzzParseName: a name that is read stays inside of its tenant's folder, and is written as
// it was.
func FuzzParseName(f *testing.F) {
	f.Add("acme/tenantconfig/a")
	f.Add("acme/../other/a")
	f.Add("acme//a")
	f.Fuzz(func(t *testing.T, name string) {
		tenant, path, err := parse(name)
		if err != nil {
			return
		}
		inside, err := filepath.Rel(string(tenant), filepath.Join(string(tenant), path))
		if err != nil || inside != path || hidden(path) || string(tenant)+"/"+path != name {
			t.Fatalf("%q is read as %q of %s", name, path, tenant)
		}
	})
}

// A file that cannot be linked, here because it is on another file system, is copied.
func TestBook_CopiesWhatCannotBeLinked(t *testing.T) {
	elsewhere, err := os.MkdirTemp("/dev/shm", "stele-*")
	if err != nil {
		t.Skip("there is no second file system:", err)
	}
	defer os.RemoveAll(elsewhere)
	from, to := filepath.Join(elsewhere, "from"), filepath.Join(t.TempDir(), "to")
	text := strings.Repeat("text", 100_000)
	if err := os.WriteFile(from, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Link(from, to) == nil {
		t.Skip("both folders are on one file system")
	}
	s := &Sink{mode: 0o640}
	if err := s.keepFile(from, to); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(elsewhere, "link") // which is not followed
	if err := errors.Join(os.Symlink(from, link), s.keepFile(link, to+"-link")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(to + "-link"); !os.IsNotExist(err) {
		t.Errorf("a link was copied: %v", err)
	}
	got, err := os.ReadFile(to)
	if err != nil || string(got) != text {
		t.Errorf("the copy has %d bytes, %v", len(got), err)
	}
	if info, err := os.Stat(to); err != nil || info.Mode().Perm() != fs.FileMode(0o640) {
		t.Errorf("the copy is %v, %v", info.Mode(), err)
	}
}

// The cost of a large tenant, for the comment at rest.
func BenchmarkWrite(b *testing.B) {
	for _, keys := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) { benchmark(b, keys) })
	}
}

func benchmark(b *testing.B, keys int) {
	s := &Sink{root: b.TempDir(), mode: 0o600, tenants: make(map[ledger.Tenant]*tenant)}
	var all []projector.Write
	for i := range keys {
		all = append(all, projector.Write{Tenant: "acme", Key: ledger.Key(fmt.Sprintf("tag%d/service%d/k%d", i%4, i%100, i)), Value: `"value"`, Revision: 1})
	}
	begun := time.Now()
	if _, err := s.Write(b.Context(), all); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(begun).Seconds(), "first-s")
	revision := ledger.Revision(1)
	for b.Loop() {
		revision++
		w := all[0]
		w.Revision = revision
		if _, err := s.write(b.Context(), s.tenant("acme"), []projector.Write{w}); err != nil {
			b.Fatal(err)
		}
	}
}
