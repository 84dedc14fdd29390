package git

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/stelehq/stele/cmd/stele/internal/migrate"
	"github.com/stelehq/stele/cmd/stele/internal/yamljson"
	"go.yaml.in/yaml/v3"
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
}

// apply advances to the next commit, and returns the changes. A document that cannot be
// read keeps its previous values.
func (t *tree) apply(files []file) ([]migrate.Item, error) {
	items := make(map[string]migrate.Item)
	var faults []migrate.Item
	said := make(map[string]map[string]string)
	for _, f := range files {
		name, ok := document(f.path)
		if !ok {
			continue
		}
		said[f.path] = nil
		if unread := t.unread[f.path]; unread != "" {
			faults = append(faults, migrate.Item{Name: unread, Repaired: true})
			delete(t.unread, f.path)
		}
		if f.blob == "" {
			continue
		}
		values, fault, err := t.read(f, name)
		if err != nil {
			return nil, err
		}
		if fault != nil {
			faults = append(faults, migrate.Item{Name: name, Fault: fmt.Errorf("%s: %w", f.path, fault)})
			t.unread[f.path] = name
			values = t.files[f.path]
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
				faults = append(faults, migrate.Item{Name: name, Fault: fmt.Errorf("%s has it, and so has %s", path, owner)})
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
	all := faults
	for _, name := range slices.Sorted(maps.Keys(items)) {
		all = append(all, items[name])
	}
	return all, nil
}

// read returns what a document says, or why it cannot be read.
func (t *tree) read(f file, name string) (values map[string]string, fault, err error) {
	data, size, err := t.blobs.read(f.blob)
	switch {
	case err != nil:
		return nil, nil, err
	case size > maxFile:
		return nil, fmt.Errorf("it has %d bytes, more than %d", size, maxFile), nil
	}
	root, fault := parseDocument(path.Ext(f.path), data)
	if fault != nil || root == nil {
		return nil, fault, nil
	}
	values = make(map[string]string)
	// ToJSON also sees cycles and what is multiplied beyond measure, before any
	// leaf is looked for.
	whole, fault := yamljson.ToJSON(root)
	switch {
	case fault != nil:
		return nil, fault, nil
	case !t.flatten:
		values[name] = string(whole)
		return values, nil, nil
	}
	return values, leaves(root, name, values), nil
}

// leaves gives every value other than a non-empty object a name: the document's with
// the fields' after it.
func leaves(n *yaml.Node, name string, into map[string]string) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Tag == documentsTag {
		for i, doc := range n.Content {
			if err := leaves(doc, fmt.Sprintf("%s/%d", name, i), into); err != nil {
				return err
			}
		}
		return nil
	}
	if n.Kind == yaml.MappingNode && len(n.Content) > 0 {
		return yamljson.Fields(n, func(field string, _, value *yaml.Node) error {
			return leaves(value, name+"/"+field, into)
		})
	}
	value, err := yamljson.ToJSON(n)
	if err != nil {
		return err
	}
	if _, twice := into[name]; twice {
		return fmt.Errorf("%s stands for two of its fields", name)
	}
	into[name] = string(value)
	return nil
}
