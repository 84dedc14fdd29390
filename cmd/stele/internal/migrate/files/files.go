// Package files reads the documents below a directory as they are now, without a history.
package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stelehq/stele/cmd/stele/internal/migrate"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/document"
)

// Source is the content of a directory when it was opened.
type Source struct {
	items   []migrate.Item
	skipped document.Skipped
}

// Config defines what to read.
type Config struct {
	// Path is a directory, or one file.
	Path string
	// Root is what the files' paths begin with, relative to the directory.
	Root string
	// Flatten makes each leaf of a document a name of its own.
	Flatten bool
}

// Open reads all documents. Symbolic links, and the directory .git, are not read.
func Open(ctx context.Context, cfg Config) (*Source, error) {
	dir, only := cfg.Path, "."
	info, err := os.Stat(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("read files: %w", err)
	}
	if !info.IsDir() {
		dir, only = filepath.Split(cfg.Path)
		if _, ok := document.Name(only); !ok {
			return nil, fmt.Errorf("read files: %s: files with this extension are not read: use %s", cfg.Path, strings.Join(document.Extensions(), ", "))
		}
	}
	root, err := os.OpenRoot(filepath.Clean(dir))
	if err != nil {
		return nil, fmt.Errorf("read files: %w", err)
	}
	defer root.Close()
	r := reader{
		root: root, cfg: cfg,
		owners: make(map[string]string),
	}
	err = fs.WalkDir(root.FS(), only, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case entry.IsDir() && entry.Name() == ".git":
			return fs.SkipDir
		case entry.IsDir(), !strings.HasPrefix(path, cfg.Root):
			return nil
		}
		return r.add(path, entry)
	})
	if err != nil {
		return nil, fmt.Errorf("read files in %s: %w", cfg.Path, err)
	}
	// Faults are listed last.
	r.items = append(r.items, r.faults...)
	return &r.Source, nil
}

type reader struct {
	Source
	root *os.Root
	cfg  Config
	// owners is the file that defines a name.
	owners map[string]string
	faults []migrate.Item
}

// add reads one file. A file that cannot be read as a document is an item with a fault.
func (r *reader) add(path string, entry fs.DirEntry) error {
	name, ok := document.Name(path)
	switch {
	case !entry.Type().IsRegular():
		r.skipped.Links.Add(path)
		return nil
	case !ok:
		r.skipped.AddFormat(path)
		return nil
	}
	data, err := r.read(path)
	if err != nil {
		return err
	}
	doc, err := document.Read(path, data, r.cfg.Flatten)
	if errors.Is(err, document.ErrTemplate) {
		r.skipped.Templates.Add(path)
		return nil
	}
	if err != nil {
		r.faults = append(r.faults, migrate.Item{Name: name, Fault: fmt.Errorf("%s: %w", path, err)})
		return nil
	}
	for _, remark := range doc.Remarks {
		r.items = append(r.items, migrate.Item{Name: name, Remark: remark})
	}
	for _, name := range slices.Sorted(maps.Keys(doc.Values)) {
		item := migrate.Item{Name: name, Value: doc.Values[name], JSON: true}
		if owner := r.owners[name]; owner != "" {
			item.Fault = fmt.Errorf("both %s and %s define it", owner, path)
			r.faults = append(r.faults, item)
			continue
		}
		r.owners[name] = path
		r.items = append(r.items, item)
	}
	return nil
}

// read reads a file, up to one byte more than a document may have.
func (r *reader) read(path string) ([]byte, error) {
	f, err := r.root.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, document.MaxSize+1))
}

// Skipped returns the files that are not read.
func (s *Source) Skipped() document.Skipped { return s.skipped }

// Name is the same for all directories: an import is the difference to the ledger.
func (s *Source) Name() string { return "files" }

// Steps yields the state.
func (s *Source) Steps(context.Context) iter.Seq2[migrate.Step, error] {
	return func(yield func(migrate.Step, error) bool) {
		yield(migrate.Step{ID: "current state", State: true, Items: s.items}, nil)
	}
}
