package git

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/stelehq/stele/cmd/stele/internal/migrate"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/document"
)

// tree is what the documents say after a commit.
type tree struct {
	flatten bool
	blobs   *blobs
	// files has each document's names and values, JSON.
	files map[string]map[string]string
	// owners says which file a name is of.
	owners map[string]string
	// unread are the documents' names whose newest file could not be read, by path.
	unread map[string]string
	// templates are the paths of Helm templates.
	templates map[string]bool
}

// apply advances to the next commit, and returns the changes. A document that cannot be
// read keeps its previous values.
func (t *tree) apply(files []file) ([]migrate.Item, error) {
	items := make(map[string]migrate.Item)
	var all []migrate.Item
	said := make(map[string]map[string]string)
	for _, f := range files {
		name, ok := document.Name(f.path)
		if !ok {
			continue
		}
		said[f.path] = nil
		delete(t.templates, f.path)
		if unread := t.unread[f.path]; unread != "" {
			all = append(all, migrate.Item{Name: unread, Repaired: true})
			delete(t.unread, f.path)
		}
		if f.blob == "" {
			continue
		}
		doc, fault, err := t.read(f)
		if err != nil {
			return nil, err
		}
		values := doc.Values
		if errors.Is(fault, document.ErrTemplate) {
			t.templates[f.path] = true
			continue
		}
		if fault != nil {
			all = append(all, migrate.Item{Name: name, Fault: fmt.Errorf("%s: %w", f.path, fault)})
			t.unread[f.path] = name
			values = t.files[f.path]
		}
		for _, remark := range doc.Remarks {
			all = append(all, migrate.Item{Name: name, Remark: remark})
		}
		said[f.path] = values
	}
	paths := slices.Sorted(maps.Keys(said))
	// Deletions come first: another file may define the name from now on.
	for _, path := range paths {
		for name := range t.files[path] {
			if _, stays := said[path][name]; !stays {
				items[name] = migrate.Item{Name: name, Delete: true}
				delete(t.files[path], name)
				delete(t.owners, name)
			}
		}
	}
	for _, path := range paths {
		for _, name := range slices.Sorted(maps.Keys(said[path])) {
			if owner := t.owners[name]; owner != "" && owner != path {
				all = append(all, migrate.Item{Name: name, Fault: fmt.Errorf("both %s and %s define it", owner, path)})
				continue
			}
			value := said[path][name]
			if was, ok := t.files[path][name]; ok && was == value {
				continue
			}
			if t.files[path] == nil {
				t.files[path] = make(map[string]string)
			}
			t.files[path][name], t.owners[name] = value, path
			items[name] = migrate.Item{Name: name, Value: value, JSON: true}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(items)) {
		all = append(all, items[name])
	}
	return all, nil
}

// read returns a document, or why it cannot be read.
func (t *tree) read(f file) (doc document.Document, fault, err error) {
	data, size, err := t.blobs.read(f.blob)
	switch {
	case err != nil:
		return doc, nil, err
	case size > document.MaxSize:
		return doc, document.ErrTooLarge, nil
	}
	doc, fault = document.Read(f.path, data, t.flatten)
	return doc, fault, nil
}
