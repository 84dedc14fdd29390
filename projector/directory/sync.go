package directory

import (
	"errors"
	"os"
)

// syncFile makes a file durable, or the names in a folder.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
