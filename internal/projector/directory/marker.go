package directory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stelehq/stele/internal/durable"
)

// markerName is the file in the sink's root that says whose directory it is. No
// tenant can have its name.
const markerName = "..stele-sink"

func marker(sink string) string {
	return "sink " + sink + "\nStele maintains this directory. Do not put other files here.\n"
}

// openRoot makes the sink's root, and marks it. It refuses a directory that has files
// but no marker: they would be taken for tenants' settings, and be adopted, repaired or
// replaced by links.
func (s *Sink) openRoot() error {
	if err := s.nested(); err != nil {
		return err
	}
	if err := s.makeFolder(s.root); err != nil {
		return err
	}
	path := filepath.Join(s.root, markerName)
	text, err := os.ReadFile(path)
	switch {
	case err == nil && string(text) == marker(s.name):
		return nil
	case err == nil:
		owner, _, _ := strings.Cut(string(text), "\n")
		return fmt.Errorf("%s belongs to %q: use another path, or delete %s to give the directory to this sink", s.root, owner, path)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !durable.Unfinished(e.Name()) { // a killed start has left it
			return fmt.Errorf("%s is not empty and is not marked as a sink's directory (it has %s): use another path, or empty it", s.root, e.Name())
		}
	}
	return durable.Replace(path, []byte(marker(s.name)))
}

// nested refuses a root inside the directory of another sink, whose tenants it would
// share.
func (s *Sink) nested() error {
	for dir := filepath.Dir(s.root); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(filepath.Join(dir, markerName)); err == nil {
			return fmt.Errorf("%s is inside %s, the directory of another sink: use another path", s.root, dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}
