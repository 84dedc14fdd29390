//go:build !linux

package directory

import (
	"io/fs"
	"path/filepath"
	"slices"
)

// syncTree makes everything below a folder durable, what is in a folder before the
// folder.
func syncTree(root string) error {
	var all []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
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
	return err
}
