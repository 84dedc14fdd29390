package directory

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// plan is a tree's next version. Its book is that version's.
type plan struct {
	tree
	sink *Sink
	// files by path: where each is now, or "" if it is new.
	files map[string]string
	texts map[string]string // of those
	// below counts the files below each folder, and of those that the ledger has.
	below, owned map[string]int
	changed      bool
}

// plan begins as the files that programs see now.
func (s *Sink) plan(tr tree) (*plan, error) {
	p := &plan{
		tree: tr, sink: s, files: make(map[string]string), texts: make(map[string]string),
		below: make(map[string]int), owned: make(map[string]int),
	}
	err := tr.walk(func(path, at string, _ fs.DirEntry) error {
		p.files[path] = at
		return nil
	})
	if err != nil {
		return nil, err
	}
	for path, e := range p.book.entries {
		if _, there := p.files[path]; !there && e.kind != deleted { // deleted by hand
			delete(p.book.entries, path)
		}
	}
	for path := range p.files {
		p.count(path, 1)
	}
	return p, nil
}

// apply plans the writes, and returns an error for each. Deletions come first, because
// they can free a path, and then the keys in their order, so that of two new ones that
// conflict it is always the same one that is refused.
func (p *plan) apply(writes []projector.Write) ([]error, error) {
	order := make([]int, len(writes))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if d := writes[a].Deleted(); d != writes[b].Deleted() {
			if d {
				return -1
			}
			return 1
		}
		return cmp.Compare(writes[a].Key, writes[b].Key)
	})
	errs := make([]error, len(writes))
	for _, i := range order {
		w := writes[i]
		err := p.one(w)
		if _, refused := errors.AsType[*projector.RefusedError](err); err != nil && !refused {
			return nil, err
		}
		errs[i] = err
	}
	return errs, nil
}

func (p *plan) one(w projector.Write) error {
	path := string(w.Key)
	have := p.book.entries[path]
	if w.Replace == nil && have.revision > w.Revision {
		return nil // the folder holds something newer
	}
	_, err := p.sink.Name(w.Tenant, w.Key)
	at, there := p.files[path]
	switch {
	case w.Deleted() && err != nil: // it can never have been here
		return nil
	case w.Deleted():
		if next := (entry{w.Revision, deleted}); there || have != next {
			p.drop(path)
			p.book.entries[path], p.changed = next, true
		}
		return nil
	case err != nil:
		return err
	}
	want, err := contentOf(w.Value, p.sink.mode)
	if err != nil {
		return err
	}
	next := entry{w.Revision, want.kind}
	if there && have == next {
		if same, err := hasContent(at, want); err != nil || same {
			return err
		}
	}
	if err := p.makeRoom(path); err != nil {
		return err
	}
	p.drop(path)
	p.files[path], p.texts[path], p.book.entries[path], p.changed = "", want.text, next, true
	p.count(path, 1)
	return nil
}

// hasContent compares a file with its expected content.
func hasContent(at string, want content) (bool, error) {
	if at == "" {
		return false, nil
	}
	if info, err := os.Lstat(at); err != nil || !info.Mode().IsRegular() {
		return false, err
	}
	f, err := os.Open(at)
	if err != nil {
		return false, err
	}
	defer f.Close()
	text, mode, err := read(f)
	return err == nil && text == want.text && mode == want.mode, err
}

// makeRoom removes paths that the ledger does not have and that block the file, or a
// folder above it. It rejects the file if the path belongs to another key.
func (p *plan) makeRoom(path string) error {
	if p.owned[path] > 0 {
		return isFolder(path)
	}
	for folder := range folders(path) {
		if _, there := p.files[folder]; !there {
			continue
		}
		if p.book.owns(folder) {
			return isFile(folder)
		}
		p.drop(folder)
	}
	if p.below[path] > 0 {
		for other := range p.files {
			if strings.HasPrefix(other, path+"/") {
				p.drop(other)
			}
		}
	}
	return nil
}

func isFolder(path string) error {
	return projector.Refuse("%s is a folder of other keys here, and cannot also be a file: rename the key, or delete those below it and retry", path)
}

func isFile(folder string) error {
	return &projector.RefusedError{
		Reason: fmt.Sprintf("%s is also a key, and its file cannot be the folder of this one: rename one of them, or delete that one and retry", folder),
		Other:  ledger.Key(folder),
	}
}

func (p *plan) drop(path string) {
	if _, there := p.files[path]; !there {
		return
	}
	p.count(path, -1)
	delete(p.files, path)
	delete(p.texts, path)
	delete(p.book.entries, path)
}

// count adds to the folders above a path.
func (p *plan) count(path string, n int) {
	owned := p.book.owns(path)
	for folder := range folders(path) {
		p.below[folder] += n
		if owned {
			p.owned[folder] += n
		}
	}
}

// folders are those above a path: "a" and "a/b" of a/b/c.
func folders(path string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i := range len(path) {
			if path[i] == '/' && !yield(path[:i]) {
				return
			}
		}
	}
}
