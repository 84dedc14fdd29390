// Package directory is a sink that keeps each tenant's settings as a tree of files, for
// any program that can read a file.
//
// A key's file always has the same path:
//
//	DIR/acme/tenantconfig/checkout/timeout_ms
//
// It holds a string without quotes, and any other value as its JSON text, without a
// newline at the end: 250 is three bytes. All files of a tenant change atomically, as in
// a Kubernetes ConfigMap, so programs that watch a ConfigMap can watch
// this:
//
//	DIR/acme/tenantconfig -> ..data/tenantconfig   a link for each first segment
//	DIR/acme/..data -> ..42-1804289383             replaced by renaming another over it
//	DIR/acme/..42-1804289383/tenantconfig/...      a version: the files as of acme@42
//
// A program that needs several files of one commit resolves ..data once and reads below
// the folder that it points to. That folder stays until the second change after it; if
// files are missing there, resolve ..data again.
//
// A write makes the next version next to the one in use, with hard links to the
// unchanged files, and syncs it to disk before ..data points to it. Wherever it is
// killed, or the power fails, programs see the old version or the new one; the tenant's
// next write removes the remains of a killed one. Names that begin with ".." in a
// tenant's folder are reserved for the sink. In each version a file "..stele" contains
// the revision of each file. A file that is edited, added or deleted by hand stays so
// in the next versions, until it is repaired or the key is written again; a missing
// link is restored by the next write.
//
// A path cannot be both a file and a folder: of the keys a and a/b, the existing one
// blocks the other until it is deleted, and of two new ones the shorter is accepted.
//
// Files and folders are accessible to their owner only unless the sink is given a mode.
// Their file system must support links. On a case-insensitive one, as on most Macs,
// keys with capital letters are rejected.
package directory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"golang.org/x/time/rate"
)

const (
	// dataLink is the link in a tenant's folder that points to the version in use.
	dataLink = "..data"
	// maxSegment is the longest file name of the usual file systems, in bytes.
	maxSegment = 255
	// parallel tenants are written at a time: one that rests keeps none of the others
	// from being written, and many share a flush of the disk.
	parallel = 64
	// scanRate is how many files a second are read to compare them, and took a tenth
	// of a core.
	scanRate rate.Limit = 5000
)

// Sink is a directory that is written to.
type Sink struct {
	name  string
	root  string
	epoch ledger.Epoch
	mode  fs.FileMode // of files
	folds bool        // file names are not case-sensitive
	scans *rate.Limiter
	log   *slog.Logger
	step  func(string) // called at each step of a write; for tests

	// builds are how versions are made, and rounds how they become durable.
	builds turns
	rounds *rounds

	mu      sync.Mutex // guards the field below
	tenants map[ledger.Tenant]*tenant
}

var _ projector.Store = (*Sink)(nil)

// settings of a sink in the routes.
type settings struct {
	// Path of the folder, the sink's name by default; see Settings.Directory.
	Path string `json:"path"`
	// Mode of files in octal, 0600 by default; users with read permission for a file
	// can enter its folders.
	Mode string `json:"mode"`
}

func readSettings(s projector.Settings) (set settings, mode fs.FileMode, err error) {
	set = settings{Path: s.Name, Mode: "0600"}
	if err := s.Decode(&set); err != nil {
		return set, 0, err
	}
	octal, err := strconv.ParseUint(set.Mode, 8, 32)
	mode = fs.FileMode(octal)
	if err != nil || mode&^0o666 != 0 || mode&0o600 != 0o600 {
		return set, 0, fmt.Errorf("settings of sink %s: mode is %q: use 0600, 0640 or 0644", s.Name, set.Mode)
	}
	if err := projector.CheckPath(set.Path); err != nil {
		return set, 0, fmt.Errorf("settings of sink %s: %w", s.Name, err)
	}
	return set, mode, nil
}

// Fit reports which writes such a sink would reject. Whether the file system is
// case-insensitive, only the folder knows.
func Fit(s projector.Settings) (projector.Fit, error) {
	_, mode, err := readSettings(s)
	if err != nil {
		return projector.Fit{}, err
	}
	d := &Sink{mode: mode}
	return projector.Fit{Refuses: func(w projector.Write) error {
		if w.Deleted() {
			return nil
		}
		if _, err := d.Name(w.Tenant, w.Key); err != nil {
			return err
		}
		_, err := contentOf(w.Value, d.mode)
		return err
	}, InTheWay: func(key, other ledger.Key) error {
		if len(other) < len(key) {
			return isFile(string(other))
		}
		return isFolder(string(key))
	}}, nil
}

// Open opens the sink, and makes its folder if it does not exist.
func Open(ctx context.Context, s projector.Settings) (projector.Sink, error) {
	set, mode, err := readSettings(s)
	if err != nil {
		return nil, err
	}
	root, err := s.Directory(set.Path)
	if err != nil {
		return nil, err
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	d := &Sink{
		name: s.Name, root: root, epoch: s.Epoch, mode: mode, log: s.Log,
		scans: rate.NewLimiter(scanRate, int(scanRate)/10), tenants: make(map[ledger.Tenant]*tenant),
	}
	d.builds = newTurns(longBuildRest)
	d.rounds = newRounds(func(paths []string) error { return flush(d.root, paths) })
	if err := d.openRoot(); err != nil {
		return nil, fmt.Errorf("open sink %s: %w", s.Name, err)
	}
	if d.folds, err = folds(d.root); err != nil {
		return nil, fmt.Errorf("open sink %s: find out about capital letters: %w", s.Name, err)
	}
	return d, nil
}

// folds reports whether names that differ in capital letters are the same.
func folds(dir string) (bool, error) {
	probe, err := os.MkdirTemp(dir, "..probe-*")
	if err != nil {
		return false, err
	}
	_, err = os.Lstat(filepath.Join(dir, strings.ToUpper(filepath.Base(probe))))
	return err == nil, os.Remove(probe)
}

// Limits are a tenant's writes in one call, so that a commit is never split.
func (s *Sink) Limits() projector.Limits { return projector.Limits{Parallel: parallel} }

// Close has nothing to end.
func (s *Sink) Close() error { return nil }

// Name is the file's path below the sink's folder.
func (s *Sink) Name(t ledger.Tenant, key ledger.Key) (string, error) {
	if hidden(string(key)) {
		return "", projector.Refuse("%s: a file cannot be named so: names that begin with \"..\" are the sink's own; rename the key", key)
	}
	for segment := range strings.SplitSeq(string(key), "/") {
		if len(segment) > maxSegment {
			return "", projector.Refuse("%.40s...: a file's name has at most %d bytes, and a segment of the key has %d; rename the key", key, maxSegment, len(segment))
		}
	}
	if s.folds && strings.ToLower(string(key)) != string(key) {
		return "", projector.Refuse("%s: the file system of %s is case-insensitive; rename the key, or choose another folder", key, s.root)
	}
	return string(t) + "/" + string(key), nil
}

// parse reads a name that Name returned, or that Scan uses for a file without a key.
func parse(name string) (t ledger.Tenant, path string, err error) {
	tenant, path, _ := strings.Cut(name, "/")
	if t, err = ledger.ParseTenant(tenant); err != nil || hidden(path) || path == "." || !filepath.IsLocal(path) || filepath.Clean(path) != path {
		return "", "", projector.Refuse("%q is not a file's path: say TENANT/KEY", name)
	}
	return t, path, nil
}

// hidden reports whether a path below a tenant's folder is the sink's own.
func hidden(path string) bool { return strings.HasPrefix(path, "..") }

// makeFolder makes a folder and its parents, accessible to all readers of the files.
func (s *Sink) makeFolder(dir string) error {
	err := os.Mkdir(dir, 0o700)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if err := s.makeFolder(filepath.Dir(dir)); err != nil {
			return err
		}
		return s.makeFolder(dir)
	case err != nil:
		return err
	}
	return os.Chmod(dir, s.folderMode())
}

func (s *Sink) folderMode() fs.FileMode { return s.mode | s.mode>>2&0o111 }
