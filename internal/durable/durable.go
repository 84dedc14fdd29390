// Package durable replaces files so that a crash leaves the old content or the new.
package durable

import (
	"errors"
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
	temp, err := os.CreateTemp(filepath.Dir(path), unfinished+"*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(content)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
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
