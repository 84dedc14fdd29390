package journal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/durable"
	"github.com/stelehq/stele/internal/ledger"
)

// backupFormat identifies a backup's manifest, and manifestName is its file.
const (
	backupFormat = "stele-backup/2"
	manifestName = "backup.json"
)

// Backup is the content of a backup's manifest.
type Backup struct {
	Format string    `json:"format"`
	Ledger string    `json:"ledger"`
	Time   time.Time `json:"time"`
	// Streams are in the order in which they were taken.
	Streams []BackedUp `json:"streams"`
}

// BackedUp is a stream in a file of its own.
type BackedUp struct {
	Name     string          `json:"name"`
	File     string          `json:"file"`
	Bytes    int64           `json:"bytes"`
	SHA256   string          `json:"sha256"`
	Messages uint64          `json:"messages"`
	Last     ledger.Sequence `json:"last_sequence"`
	Config   json.RawMessage `json:"config"`
	State    json.RawMessage `json:"state"`
}

// Messages is how many all streams have.
func (b *Backup) Messages() (n uint64) {
	for _, s := range b.Streams {
		n += s.Messages
	}
	return n
}

// TakeBackup writes all streams of the ledger that the connection reaches into a new
// directory, while the ledger accepts writes. Data about commits (checkpoints,
// positions of the sinks) is saved before the commits, and data that commits depend on
// (the keys of secrets) after them: so nothing refers to a commit that is missing from
// the backup. The directory appears once all of it is on disk, and check, which reads
// what was written, has found no fault.
func TakeBackup(ctx context.Context, nc *nats.Conn, dir string, check func(context.Context, *BackupReader) error) (*Backup, error) {
	if _, err := os.Lstat(dir); err == nil {
		return nil, fmt.Errorf("back up: %w", &fs.PathError{Op: "create", Path: dir, Err: fs.ErrExist})
	}
	partial := filepath.Clean(dir) + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(partial, 0o700); err != nil {
		return nil, err
	}
	b, err := takeAll(ctx, nc, partial)
	if err == nil {
		err = writeManifest(partial, b)
	}
	if err == nil {
		err = checkBackup(ctx, partial, b, check)
	}
	if err == nil {
		err = os.Rename(partial, dir)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(partial))
	}
	return b, durable.SyncDir(filepath.Dir(filepath.Clean(dir)))
}

func checkBackup(ctx context.Context, dir string, b *Backup, check func(context.Context, *BackupReader) error) error {
	r, err := newBackupReader(dir, b)
	if err != nil {
		return err
	}
	return check(ctx, r)
}

func takeAll(ctx context.Context, nc *nats.Conn, dir string) (*Backup, error) {
	b := &Backup{Format: backupFormat, Time: time.Now().UTC()}
	var first struct {
		Config struct {
			Metadata map[string]string `json:"metadata"`
		} `json:"config"`
	}
	err := askAPI(ctx, nc, "STREAM.INFO."+streamName, struct{}{}, &first)
	if errors.Is(err, errNoStream) || errors.Is(err, nats.ErrNoResponders) {
		return nil, fmt.Errorf("%w: no ledger here: stream %s does not exist", ledger.ErrNotFound, streamName)
	}
	if err != nil {
		return nil, wrapStream(streamName, err)
	}
	b.Ledger = first.Config.Metadata[metaEpoch]
	for _, name := range []string{Checkpoints.stream, Sinks.stream, Parked.stream, streamName, Reads.stream, Keys.stream} {
		s, err := takeWhole(ctx, nc, dir, name)
		if errors.Is(err, errNoStream) && name != streamName {
			continue // created when it is first needed
		}
		if err != nil {
			return nil, fmt.Errorf("back up %w", wrapStream(name, err))
		}
		b.Streams = append(b.Streams, *s)
	}
	return b, nil
}

// bucketTries is how often a bucket is taken until no subject is missing.
const bucketTries = 3

// takeWhole takes one stream. Of a bucket, which keeps one message for each subject, no
// subject may be missing: neither because the server cannot read its message, nor
// because a newer one, which came meanwhile, is not in the snapshot.
func takeWhole(ctx context.Context, nc *nats.Conn, dir, name string) (s *BackedUp, err error) {
	// A cluster does not answer a request for a snapshot of a stream that does not exist.
	before, err := countSubjects(ctx, nc, name)
	if err != nil {
		return nil, err
	}
	for range bucketTries {
		if s, err = take(ctx, nc, dir, name); err != nil || !slices.ContainsFunc(buckets, func(k AuxKind) bool { return k.stream == name }) {
			return s, err
		}
		after, err := countSubjects(ctx, nc, name)
		if err != nil {
			return nil, err
		}
		taken := make(map[string]bool)
		err = s.read(ctx, dir, func(subject string, _ Message) error {
			taken[subject] = true
			return nil
		})
		if err != nil || len(taken) >= min(before, after) {
			return s, err
		}
		before = after
		if err := os.Remove(filepath.Join(dir, s.File)); err != nil {
			return nil, err
		}
	}
	return nil, &EvidenceError{Stream: name, Reason: "the server left out messages that it cannot read"}
}

// countSubjects asks how many subjects a stream has.
func countSubjects(ctx context.Context, nc *nats.Conn, name string) (int, error) {
	var info struct {
		State struct {
			Subjects int `json:"num_subjects"`
		} `json:"state"`
	}
	err := askAPI(ctx, nc, "STREAM.INFO."+name, struct{}{}, &info)
	return info.State.Subjects, err
}

// take writes one stream, and syncs it.
func take(ctx context.Context, nc *nats.Conn, dir, name string) (*BackedUp, error) {
	s := &BackedUp{Name: name, File: name + ".snapshot"}
	f, err := os.OpenFile(filepath.Join(dir, s.File), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum := sha256.New()
	snap, err := takeSnapshot(ctx, nc, name, io.MultiWriter(f, sum))
	if err != nil {
		return nil, errors.Join(err, os.Remove(f.Name()))
	}
	if s.Bytes, err = f.Seek(0, io.SeekCurrent); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	var state struct {
		Messages uint64          `json:"messages"`
		Last     ledger.Sequence `json:"last_seq"`
	}
	if err := json.Unmarshal(snap.State, &state); err != nil {
		return nil, err
	}
	s.SHA256, s.Config, s.State = hex.EncodeToString(sum.Sum(nil)), snap.Config, snap.State
	s.Messages, s.Last = state.Messages, state.Last
	return s, f.Close()
}

func writeManifest(dir string, b *Backup) error {
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, manifestName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(append(text, '\n')); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return errors.Join(f.Close(), durable.SyncDir(dir))
}
