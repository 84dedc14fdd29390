//go:build !linux

package directory

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// flush makes everything below folders durable, the content of a folder before the
// folder.
func flush(_ string, folders []string) error {
	for _, folder := range folders {
		var all []string
		err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
			if err == nil && (e.IsDir() || e.Type().IsRegular()) {
				all = append(all, path)
			}
			return err
		})
		for _, path := range slices.Backward(all) {
			if err == nil {
				err = syncFile(path)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
