package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/minio/highwayhash"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/durable"
	"github.com/stelehq/stele/internal/ledger"
)

// Names of what JetStream keeps in a stream's folder.
const (
	streamsDir = "jetstream/$G/streams"
	metaFile   = server.JetStreamMetaFile
	metaSum    = server.JetStreamMetaFileSum
)

// requiredConfigs are the required configurations of all streams that a ledger has.
func requiredConfigs(replicas int, epoch ledger.Epoch) []jetstream.StreamConfig {
	configs := []jetstream.StreamConfig{streamConfig(replicas, epoch)}
	for _, kind := range auxStreams {
		configs = append(configs, auxConfig(kind, replicas, epoch))
	}
	for _, kind := range buckets {
		configs = append(configs, bucketConfig(kind, replicas, epoch))
	}
	return configs
}

// repairMeta rebuilds the metadata of streams, which the nats-server compares with a checksum:
// it ignores a stream with damaged metadata, although all messages are intact. Stele knows what
// the metadata must say, except for the ledger's identity, which the other streams have as well.
// The damaged files are kept next to the streams.
func (s *Server) repairMeta() error {
	streams := filepath.Join(s.cfg.Dir, filepath.FromSlash(streamsDir))
	var epoch ledger.Epoch
	damaged := make(map[string]error)
	for _, name := range streamNames() {
		dir := filepath.Join(streams, name)
		if blocks, _ := filepath.Glob(filepath.Join(dir, "msgs", "*.blk")); len(blocks) == 0 { // it has no messages, or does not exist
			continue
		}
		found, err := readMeta(dir, name)
		if err != nil {
			damaged[name] = err
		} else if e, err := ledger.ParseEpoch(found.Metadata[metaEpoch]); err == nil {
			epoch = e
		}
	}
	if len(damaged) == 0 {
		return nil
	}
	if epoch == (ledger.Epoch{}) {
		var err error
		if epoch, err = s.cfg.Epoch(); err != nil {
			return fmt.Errorf("find out which ledger the damaged metadata of its streams is of: %w", err)
		}
	}
	if epoch == (ledger.Epoch{}) {
		return fmt.Errorf("the metadata of all streams with messages is damaged, and no other file says which ledger they are of: restore them from a backup: %w", errors.Join(slices.Collect(maps.Values(damaged))...))
	}
	for _, want := range requiredConfigs(1, epoch) {
		if why := damaged[want.Name]; why != nil {
			if err := s.rebuildMeta(filepath.Join(streams, want.Name), want, why); err != nil {
				return fmt.Errorf("rebuild the metadata of stream %s: %w", want.Name, err)
			}
		}
	}
	return nil
}

// readMeta reads a stream's metadata as the nats-server does.
func readMeta(dir, name string) (found server.FileStreamInfo, err error) {
	text, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err != nil {
		return found, err
	}
	sum, err := os.ReadFile(filepath.Join(dir, metaSum))
	if err != nil {
		return found, err
	}
	want, err := checksum(name, text)
	if err != nil {
		return found, err
	}
	if want != string(sum) {
		return found, fmt.Errorf("%s: its checksum is %s, and %s says %q", filepath.Join(dir, metaFile), want, metaSum, sum)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return found, decoder.Decode(&found)
}

// checksum is the nats-server's of a stream's metadata.
func checksum(name string, text []byte) (string, error) {
	key := sha256.Sum256([]byte(name))
	h, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		return "", err
	}
	h.Write(text)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// rebuildMeta sets the files aside and writes new ones. A start that is killed in between is
// repeated.
func (s *Server) rebuildMeta(dir string, want jetstream.StreamConfig, why error) error {
	asked, err := json.Marshal(want)
	if err != nil {
		return err
	}
	meta := server.FileStreamInfo{Created: time.Now().UTC()}
	if err := json.Unmarshal(asked, &meta.StreamConfig); err != nil {
		return err
	}
	text, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	sum, err := checksum(want.Name, text)
	if err != nil {
		return err
	}
	aside := filepath.Join(s.cfg.Dir, fmt.Sprintf("%s.damaged-%s", want.Name, time.Now().UTC().Format("20060102T150405.000000000")))
	logOf(s.cfg).Error("the metadata of a stream is damaged: it was set aside and is rebuilt; the messages are not affected", "stream", want.Name, "aside", aside+".*", "reason", why)
	for name, content := range map[string]string{metaFile: string(text), metaSum: sum} {
		old, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = durable.Replace(aside+filepath.Ext(name), old)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := durable.Replace(filepath.Join(dir, name), []byte(content)); err != nil {
			return err
		}
	}
	return nil
}
