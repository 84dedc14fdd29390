package directory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// Scan yields the files of the version that is in use when it begins, and recent
// deletions.
func (s *Sink) Scan(ctx context.Context, t ledger.Tenant, yield func(projector.Item) error) error {
	state := s.tenant(t)
	state.reading.RLock()
	defer state.reading.RUnlock()
	tr, err := s.tree(t)
	if err == nil {
		err = s.scan(ctx, tr, yield)
	}
	if err != nil {
		return fmt.Errorf("read the files of %s: %w", t, err)
	}
	return nil
}

func (s *Sink) scan(ctx context.Context, tr tree, yield func(projector.Item) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	there := make(map[string]bool)
	err := tr.walk(func(path, at string, e fs.DirEntry) error {
		if err := s.scans.Wait(ctx); err != nil {
			return err
		}
		item, err := tr.file(path, at, e.Type())
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		}
		there[path] = true
		return yield(item)
	})
	if err != nil {
		return err
	}
	for path, e := range tr.book.entries {
		if e.kind == deleted && !there[path] {
			if err := yield(tr.tombstone(path, e)); err != nil {
				return err
			}
		}
	}
	if tr.version == "" {
		return nil
	}
	// No scan of this process loses its files; another that writes now may take them.
	_, err = os.Lstat(filepath.Join(tr.dir, tr.version))
	return err
}

// file reads a file that the walk has found.
func (t tree) file(path, at string, mode fs.FileMode) (projector.Item, error) {
	if !mode.IsRegular() {
		return t.item(path, false, mode.String(), 0), nil
	}
	f, err := os.Open(at)
	if err != nil {
		return projector.Item{}, err
	}
	defer f.Close()
	text, perm, err := read(f)
	return t.item(path, true, text, perm), err
}

// Read returns a file as it is now.
func (s *Sink) Read(ctx context.Context, name string) (projector.Item, bool, error) {
	t, path, err := parse(name)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return projector.Item{}, false, err
	}
	state := s.tenant(t)
	state.reading.RLock()
	defer state.reading.RUnlock()
	tr, err := s.tree(t)
	if err != nil {
		return projector.Item{}, false, fmt.Errorf("read %s: %w", name, err)
	}
	item, ok, err := tr.read(path)
	if err != nil {
		return item, false, fmt.Errorf("read %s: %w", name, err)
	}
	return item, ok, nil
}

// read finds the item of a path.
func (t tree) read(path string) (projector.Item, bool, error) {
	item, err := t.open(path)
	switch {
	case err == nil:
		return item, true, nil
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
		return item, false, err
	}
	e := t.book.entries[path]
	return t.tombstone(path, e), e.kind == deleted, nil
}

// open reads the file that programs find at the path. It follows no link that leads
// out of the tenant's folder.
func (t tree) open(path string) (projector.Item, error) {
	root, err := os.OpenRoot(t.dir)
	if err != nil {
		return projector.Item{}, err
	}
	defer root.Close()
	at := t.place(path)
	info, err := root.Lstat(at)
	switch {
	case err != nil:
		return projector.Item{}, err
	case info.IsDir():
		return projector.Item{}, fs.ErrNotExist
	case !info.Mode().IsRegular():
		return t.item(path, false, info.Mode().Type().String(), 0), nil
	}
	f, err := root.Open(at)
	if err != nil {
		return projector.Item{}, err
	}
	defer f.Close()
	text, mode, err := read(f)
	return t.item(path, true, text, mode), err
}

// Same reports whether the file equals the one that Write makes for w.
func (s *Sink) Same(item projector.Item, w projector.Write) bool {
	held, ok := item.State.(content)
	if !ok || item.Tenant != w.Tenant || item.Key != w.Key || item.Revision != w.Revision {
		return false
	}
	if w.Deleted() {
		return held.kind == deleted
	}
	want, err := contentOf(w.Value, s.mode)
	return err == nil && held == want
}

// Remove deletes a file, and the folders above it that are empty then.
func (s *Sink) Remove(ctx context.Context, seen projector.Item) error {
	t, path, err := parse(seen.Name)
	if err != nil {
		return err
	}
	state := s.tenant(t)
	state.writing.Lock() // a version that is being made would bring it back
	defer state.writing.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	tr, err := s.tree(t)
	if err != nil {
		return fmt.Errorf("remove %s: %w", seen.Name, err)
	}
	now, ok, err := tr.read(path)
	switch {
	case err != nil:
		return fmt.Errorf("remove %s: %w", seen.Name, err)
	case !ok, now.Value == "", now.State != seen.State:
		return nil
	}
	at := tr.place(path)
	if err := os.Remove(filepath.Join(tr.dir, at)); err != nil {
		return fmt.Errorf("remove %s: %w", seen.Name, err)
	}
	for dir := filepath.Dir(at); dir != "." && dir != tr.version; dir = filepath.Dir(dir) {
		if os.Remove(filepath.Join(tr.dir, dir)) != nil { // not empty
			break
		}
	}
	return nil
}
