// Package durable makes and replaces files so that a crash leaves the old content or the new.
package durable

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Unfinished reports whether a file has the name of a Replace that was killed.
func Unfinished(name string) bool { return strings.HasPrefix(name, unfinished) }

const unfinished = ".new-"

// Replace writes a file that only its owner can read next to its target, and renames it
// once it is durable. The rename is also durable when it returns.
func Replace(path string, content []byte) error {
	return replace(path, content, 0o600)
}

// Publish is Replace for a file that everyone can read. A file with that content stays as it is.
func Publish(path string, content []byte) error {
	if was, err := os.ReadFile(path); err == nil && bytes.Equal(was, content) {
		return nil
	}
	return replace(path, content, 0o644)
}

func replace(path string, content []byte, mode fs.FileMode) error {
	temp, err := write(filepath.Dir(path), content)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	if err := os.Chmod(temp, mode); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Create makes a file that only its owner can read, unless it exists: like a link, and unlike a
// rename, it never replaces a key that was used for a signature. The caller then reads the
// existing file. The file and its name are durable when it returns.
func Create(path string, content []byte) error {
	temp, err := write(filepath.Dir(path), content)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	if err := os.Link(temp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(filepath.Dir(path)) // also of an existing file: the process that made it may have been killed before this
}

// write makes a durable file of mode 0600, whose name is not durable.
func write(dir string, content []byte) (path string, err error) {
	temp, err := os.CreateTemp(dir, unfinished+"*")
	if err != nil {
		return "", err
	}
	_, err = temp.Write(content)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		os.Remove(temp.Name())
		return "", err
	}
	return temp.Name(), nil
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" { // it cannot sync a directory, and logs renames itself
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
