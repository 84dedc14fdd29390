package directory

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// tree is a tenant's folder as programs see it.
type tree struct {
	tenant ledger.Tenant
	dir    string
	// version is the folder that ..data points to; empty before the first write.
	version string
	book    book
}

// isVersion reports whether ..data may point there.
func isVersion(name string) bool {
	return hidden(name) && name != ".." && name != dataLink && !strings.ContainsAny(name, "/ \n")
}

func (s *Sink) tree(t ledger.Tenant) (tree, error) {
	tr := tree{tenant: t, dir: filepath.Join(s.root, string(t)), book: book{epoch: s.epoch, entries: map[string]entry{}}}
	link := filepath.Join(tr.dir, dataLink)
	version, err := os.Readlink(link)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return tr, nil
	case err != nil:
		return tr, fmt.Errorf("%w: it should be a link of the sink's: remove it", err)
	case !isVersion(version):
		return tr, fmt.Errorf("%s points to %s, which is not the sink's: remove the link", link, version)
	}
	text, err := os.ReadFile(filepath.Join(tr.dir, version, bookName))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(tr.dir, version)); errors.Is(err, fs.ErrNotExist) {
			return tr, nil // the version was deleted by hand
		}
	} else if err != nil {
		return tr, err
	}
	tr.version = version
	b, err := parseBook(string(text))
	if err != nil {
		s.log.Error("what is known of a tenant's files cannot be read: none of them counts as the ledger's until it is written again",
			"file", filepath.Join(tr.dir, version, bookName), "reason", err)
		return tr, nil
	}
	tr.book = b.of(s.epoch)
	return tr, nil
}

// linked reports whether a name in the tenant's folder is the link that the sink has
// made for it.
func (t tree) linked(name string) bool {
	target, err := os.Readlink(filepath.Join(t.dir, name))
	return err == nil && target == linkTo(name)
}

// linkTo is where the link of a first segment points to.
func linkTo(segment string) string { return dataLink + "/" + segment }

// place is where the file of a path is, below the tenant's folder.
func (t tree) place(path string) string {
	segment, _, _ := strings.Cut(path, "/")
	if t.linked(segment) {
		return filepath.Join(cmp.Or(t.version, dataLink), path)
	}
	return path
}

// walk yields every file that programs see: its path below the tenant's folder, and
// where it is.
func (t tree) walk(yield func(path, at string, e fs.DirEntry) error) error {
	tops, err := os.ReadDir(t.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, top := range tops {
		name, at := top.Name(), filepath.Join(t.dir, top.Name())
		if hidden(name) {
			continue
		}
		if t.linked(name) {
			if t.version == "" {
				continue
			}
			at = filepath.Join(t.dir, t.version, name)
		}
		err := filepath.WalkDir(at, func(p string, e fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist): // deleted meanwhile, or a link to nothing
				return nil
			case err != nil:
				return err
			case e.IsDir():
				return nil
			}
			return yield(name+p[len(at):], p, e)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// item is a file as the projector sees it. Anything other than a file or folder has no
// key: it cannot be adopted.
func (t tree) item(path string, regular bool, text string, mode fs.FileMode) projector.Item {
	item := projector.Item{Tenant: t.tenant, Name: string(t.tenant) + "/" + path}
	c := content{text: text, mode: mode}
	if k, err := ledger.ParseKey(path); err == nil && regular {
		item.Key = k
		if e := t.book.entries[path]; e.kind != deleted {
			item.Revision, c.kind = e.revision, e.kind
		}
	}
	item.Value, item.State = c.value(), c
	return item
}

// tombstone is the item of a key whose deletion the book knows of.
func (t tree) tombstone(path string, e entry) projector.Item {
	return projector.Item{
		Tenant: t.tenant, Key: ledger.Key(path), Name: string(t.tenant) + "/" + path,
		Revision: e.revision, State: content{kind: deleted},
	}
}
