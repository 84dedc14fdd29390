package journal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger"
)

// OpenBackup reads a backup's manifest, and checks the hash of each of its files.
func OpenBackup(dir string) (*Backup, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, fmt.Errorf("open backup: %w", err)
	}
	b := new(Backup)
	if err := json.Unmarshal(text, b); err != nil {
		return nil, fmt.Errorf("open backup: %s: %w", manifestName, err)
	}
	if b.Format != backupFormat {
		return nil, fmt.Errorf("open backup: %s is of the format %q, not %q", manifestName, b.Format, backupFormat)
	}
	for _, s := range b.Streams {
		if err := s.check(dir); err != nil {
			return nil, fmt.Errorf("open backup: %w", err)
		}
	}
	if !slices.ContainsFunc(b.Streams, func(s BackedUp) bool { return s.Name == streamName }) {
		return nil, fmt.Errorf("open backup: it has no stream %s", streamName)
	}
	return b, nil
}

// check reads the file.
func (s *BackedUp) check(dir string) error {
	if s.File != s.Name+".snapshot" || filepath.Base(s.File) != s.File {
		return fmt.Errorf("the file of %s is %q", s.Name, s.File)
	}
	f, err := os.Open(filepath.Join(dir, s.File))
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != s.SHA256 {
		return fmt.Errorf("%s was changed since the backup was taken: its SHA-256 is another one", s.File)
	}
	return nil
}

// Restore restores a backup: it creates its streams on servers that do not have a ledger yet.
// Each has this many replicas. The caller should verify the ledger afterwards.
func Restore(ctx context.Context, nc *nats.Conn, dir string, replicas int) (*Backup, error) {
	b, err := OpenBackup(dir)
	if err != nil {
		return nil, err
	}
	for _, s := range b.Streams {
		switch err := askAPI(ctx, nc, "STREAM.INFO."+s.Name, struct{}{}, new(struct{})); {
		case err == nil:
			return nil, fmt.Errorf("restore: %s is there already: restore into servers, or a folder, without a ledger", s.Name)
		case !errors.Is(err, errNoStream):
			return nil, fmt.Errorf("restore: %w", wrapStream(s.Name, err))
		}
	}
	for _, s := range b.Streams {
		if err := s.restore(ctx, nc, dir, replicas); err != nil {
			return nil, fmt.Errorf("restore %w", wrapStream(s.Name, err))
		}
	}
	return b, nil
}

func (s *BackedUp) restore(ctx context.Context, nc *nats.Conn, dir string, replicas int) error {
	var config map[string]json.RawMessage
	if err := json.Unmarshal(s.Config, &config); err != nil {
		return err
	}
	config["num_replicas"] = json.RawMessage(strconv.Itoa(max(replicas, 1)))
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(dir, s.File))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := putSnapshot(ctx, nc, s.Name, &snapshot{Config: text, State: s.State}, f); err != nil {
		return err
	}
	var info struct {
		State struct {
			Last ledger.Sequence `json:"last_seq"`
		} `json:"state"`
	}
	if err := askAPI(ctx, nc, "STREAM.INFO."+s.Name, struct{}{}, &info); err != nil {
		return err
	}
	if info.State.Last < s.Last {
		return fmt.Errorf("it ends at %d after that, not at %d", info.State.Last, s.Last)
	}
	return nil
}
