// Package durable replaces files so that a crash leaves the old content or the new.
package durable

import (
	"errors"
	"os"
	"path/filepath"
)

// Replace writes a file that only its owner can read next to its target, and renames it
// once it is durable.
func Replace(path string, content []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(content)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
