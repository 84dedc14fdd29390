// Package boltfile has the common parts of bbolt files that the journal can rebuild:
// the replica's and the tree's. Such a file is disposable, but it must not return wrong
// data. bbolt trusts its pages, so this package checks them, entries carry checksums,
// and a panic or a fault that a damaged page causes is caught. A damaged file is set
// aside. The journal must contain everything that the file has seen.
package boltfile

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// ErrDamaged is in the chain of every error that means that a file differs from what
// was written to it.
var ErrDamaged = errors.New("file is damaged")

// Kind is what all files of one kind share.
type Kind struct {
	// Name of the kind, as errors and logs call it.
	Name string
	// Format is the version of everything in the file. One of another version is
	// set aside and rebuilt.
	Format string
	// Buckets that it has; Meta is one of them.
	Buckets [][]byte
}

// Damaged is an ErrDamaged with a description of the damage.
func (k *Kind) Damaged(what string, args ...any) error {
	return fmt.Errorf("%s %w: %s", k.Name, ErrDamaged, fmt.Sprintf(what, args...))
}

// Catch turns a panic inside of bbolt, which trusts its pages, and a fault in the
// memory map into ErrDamaged, from now until the returned function is called:
//
//	defer kind.Catch(&err)()
func (k *Kind) Catch(err *error) (end func()) {
	faults := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(faults)
		if p := recover(); p != nil {
			*err = k.Damaged("%v\n%s", p, debug.Stack())
		}
	}
}

// Open opens the file, or makes an empty one, and maps at least initialMap bytes
// of it. After an ErrDamaged it should be set aside.
func (k *Kind) Open(path string, initialMap int) (db *bolt.DB, err error) {
	defer k.Catch(&err)()
	var system syscall.Errno
	db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType, InitialMmapSize: initialMap, NoStatistics: true})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("open %s %s: another process has it open", k.Name, path)
	case errors.As(err, &system) && system != syscall.EIO: // nothing about the file's content, unlike a disk that cannot read it
		return nil, fmt.Errorf("open %s %s: %w", k.Name, path, err)
	case err != nil:
		return nil, k.Damaged("open %s: %v", path, err)
	}
	return db, nil
}

// OpenReadOnly opens an existing file that no process writes to.
func (k *Kind) OpenReadOnly(path string) (db *bolt.DB, err error) {
	defer k.Catch(&err)()
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	if err := checkMetas(path); err != nil {
		return nil, k.Damaged("%v", err)
	}
	db, err = bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true, PreLoadFreelist: true, Timeout: time.Second})
	if err != nil {
		return nil, k.Damaged("open %s: %v", path, err)
	}
	return db, nil
}

// CheckCounts compares the number of entries in each bucket with the expected number;
// by names the source of the expectation, for example "the journal makes".
func (k *Kind) CheckCounts(tx *bolt.Tx, by string, want map[string]int) error {
	for _, name := range k.Buckets {
		count := 0
		err := tx.Bucket(name).ForEach(func(_, _ []byte) error {
			count++
			return nil
		})
		if err != nil {
			return err
		}
		if count != want[string(name)] {
			return k.Damaged("%s has %d entries, and %s %d", name, count, by, want[string(name)])
		}
	}
	return nil
}

// SetAside renames the file, if it exists, so that an operator can examine it.
func (k *Kind) SetAside(path string, log *slog.Logger, why error) error {
	aside := fmt.Sprintf("%s.damaged-%s", path, time.Now().UTC().Format("20060102T150405.000000000"))
	err := os.Rename(path, aside)
	switch {
	case errors.Is(err, os.ErrNotExist): // it was set aside before
		return nil
	case err != nil:
		// It does not wrap why: callers handle damage.
		return fmt.Errorf("set %s aside, which is damaged (%s): %w", k.Name, fmt.Sprint(why), err)
	}
	log.Error(k.Name+" file set aside; it will be rebuilt from the journal", "file", path, "aside", aside, "reason", why)
	return nil
}
