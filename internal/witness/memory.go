package witness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"sync"

	"github.com/stelehq/stele/internal/durable"
	"github.com/stelehq/stele/internal/ledger/proof"
)

// memory is a file with the newest checkpoint that each witness has cosigned, by the witness's
// URL. It shows a signer that restarts that a witness was rolled back in the meantime, and
// holds the witness's own signature as evidence.
type memory struct {
	path string // empty: nothing outlives the process

	mu    sync.Mutex        // guards what follows, and the file
	notes map[string]string // checkpoints with the cosignature
}

func openMemory(path string) (*memory, error) {
	m := &memory{path: path, notes: make(map[string]string)}
	if path == "" {
		return m, nil
	}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return m, nil
	case err == nil:
		err = json.Unmarshal(text, &m.notes)
	}
	if err != nil {
		return nil, fmt.Errorf("read the newest cosignatures in %s: %w; restore the file, or remove it if the witnesses have lost nothing", path, err)
	}
	return m, nil
}

// size is the size of the newest checkpoint that one of the witnesses has cosigned at the URL, 0
// without one. Cosignatures of other keys are of a witness that was replaced.
func (m *memory) size(url string, keys proof.Witnesses) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if got, err := keys.Cosignatures(m.notes[url]); err != nil || len(got) == 0 {
		return 0
	}
	c, err := parseCheckpoint(m.notes[url])
	if err != nil {
		return 0
	}
	return c.size
}

// keep makes a cosigned checkpoint durable.
func (m *memory) keep(url, note string) error {
	if m.path == "" {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	notes := maps.Clone(m.notes)
	notes[url] = note
	text, err := json.Marshal(notes)
	if err == nil {
		err = durable.Replace(m.path, text)
	}
	if err != nil {
		return fmt.Errorf("keep the cosignature of %s: %w", url, err)
	}
	m.notes = notes
	return nil
}
