package directory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// build makes the version's folder. It returns its name as soon as there is one.
func (s *Sink) build(ctx context.Context, p *plan) (version string, err error) {
	root, err := os.MkdirTemp(p.dir, fmt.Sprintf("..%d-*", p.book.newest()))
	if err != nil {
		return "", err
	}
	version = filepath.Base(root)
	if err := os.Chmod(root, s.folderMode()); err != nil {
		return version, err
	}
	made := make(map[string]bool)
	for _, path := range slices.Sorted(maps.Keys(p.files)) {
		if err := ctx.Err(); err != nil {
			return version, err
		}
		for folder := range folders(path) {
			if made[folder] {
				continue
			}
			made[folder] = true
			if err := s.makeFolder(filepath.Join(root, folder)); err != nil {
				return version, err
			}
		}
		s.at("file")
		to := filepath.Join(root, path)
		if text, changed := p.texts[path]; changed {
			err = s.writeFile(to, strings.NewReader(text))
		} else {
			err = s.keepFile(p.files[path], to)
		}
		if err != nil {
			return version, err
		}
	}
	s.at("files")
	book := p.book
	book.previous = p.version
	if err := s.writeFile(filepath.Join(root, bookName), strings.NewReader(string(book.encode()))); err != nil {
		return version, err
	}
	s.at("book")
	return version, nil
}

// writeFile makes a file.
func (s *Sink) writeFile(path string, text io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, text)
	return errors.Join(err, f.Chmod(s.mode), f.Close())
}

// keepFile copies a file unchanged into the new version. Linux restricts links to other
// users' files: such a file is copied, and anything else, which has no key, is left
// behind.
func (s *Sink) keepFile(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrNotExist) { // deleted meanwhile, by hand
		return nil
	}
	if info, err := os.Lstat(from); err == nil && !info.Mode().IsRegular() {
		return nil
	}
	f, opened := os.Open(from)
	if opened != nil {
		return errors.Join(err, opened)
	}
	defer f.Close()
	return s.writeFile(to, f)
}

// segments are the names in a version that need a link.
func (t tree) segments() ([]string, error) {
	if t.version == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(filepath.Join(t.dir, t.version))
	var names []string
	for _, e := range entries {
		if !hidden(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// link makes the links that are not there.
func (t tree) link() error {
	names, err := t.segments()
	for _, name := range names {
		if err == nil {
			err = os.Symlink(linkTo(name), filepath.Join(t.dir, name))
		}
		if errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	return err
}

// unmanaged are the files and folders that were put by hand where links belong.
func (t tree) unmanaged() ([]string, error) {
	entries, err := os.ReadDir(t.dir)
	var names []string
	for _, e := range entries {
		if !hidden(e.Name()) && !t.linked(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// replaceByLinks replaces them, which are in the version by now, by links. A kill in
// between leaves a link out, which the next write makes.
func (t tree) replaceByLinks(names []string) error {
	for _, name := range names {
		aside, err := os.MkdirTemp(t.dir, "..aside-*")
		if err == nil {
			err = os.Rename(filepath.Join(t.dir, name), filepath.Join(aside, name))
		}
		if err != nil {
			return err
		}
	}
	return t.link()
}

// clean removes everything that belongs to no version in use: older ones, links to
// segments that the version no longer has, and the remains of a killed write.
func (t tree) clean() error {
	entries, err := os.ReadDir(t.dir)
	for _, e := range entries {
		at := filepath.Join(t.dir, e.Name())
		switch {
		case hidden(e.Name()):
			if e.Name() != dataLink && e.Name() != t.version && e.Name() != t.book.previous {
				err = errors.Join(err, os.RemoveAll(at))
			}
		case t.linked(e.Name()):
			if _, lost := os.Stat(at); errors.Is(lost, fs.ErrNotExist) {
				err = errors.Join(err, os.Remove(at))
			}
		}
	}
	return err
}
