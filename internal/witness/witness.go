// Package witness is a C2SP witness (c2sp.org/tlog-witness), and the client that asks
// witnesses for cosignatures.
//
// A witness remembers, for each ledger, the newest checkpoint that it has cosigned. It
// cosigns another one only if that extends it. So of all histories that the holder of
// a ledger's key could sign, a witness cosigns one, and a user who requires
// cosignatures from a quorum of witnesses sees the same history as everyone else
// who requires them.
//
// A cosignature of a witness is durable before it answers. A witness that lost its memory
// would cosign a second history: Open refuses a key without the file that belongs to it.
package witness

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/stelehq/stele/internal/ledger/proof"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/mod/sumdb/note"
)

// Config says for which ledgers to cosign, and with which key.
type Config struct {
	// Key signs the cosignatures.
	Key proof.Cosigner
	// Logs are the keys that sign checkpoints. The name of a key is the origin of its
	// checkpoints.
	Logs []note.Verifier
	// Path is the file of what was cosigned.
	Path string
	// Create makes the file: only for a key that was made just now.
	Create bool
	// Log receives what is refused; nil discards it.
	Log *slog.Logger
	// Now is the clock; nil for the machine's.
	Now func() time.Time
}

// Witness is an HTTP handler: POST /add-checkpoint, GET /<origin hash>/checkpoint.
type Witness struct {
	cfg  Config
	logs map[string][]note.Verifier // by origin
	db   *bolt.DB
	mux  *http.ServeMux
}

// The file has one bucket of state and one of checkpoints.
//
//	meta         key     -> the witness's public key
//	checkpoints  origin  -> the newest checkpoint, with the ledger's signature and ours
var (
	bucketMeta        = []byte("meta")
	bucketCheckpoints = []byte("checkpoints")
	metaKey           = []byte("key")
)

// ErrNoState: the file of what was cosigned is missing, or belongs to another key.
var ErrNoState = errors.New("the witness does not know what it has cosigned")

// Open opens the file, and makes it if Config.Create says so.
func Open(cfg Config) (*Witness, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if len(cfg.Logs) == 0 {
		return nil, errors.New("a witness needs the public key of at least one ledger")
	}
	w := &Witness{cfg: cfg, logs: make(map[string][]note.Verifier), mux: http.NewServeMux()}
	for _, k := range cfg.Logs {
		w.logs[k.Name()] = append(w.logs[k.Name()], k)
	}
	if _, err := os.Stat(cfg.Path); errors.Is(err, fs.ErrNotExist) && !cfg.Create {
		return nil, fmt.Errorf("%w: %s is missing; restore the file, or start with a new key and give it to those who verify", ErrNoState, cfg.Path)
	}
	var err error
	if w.db, err = bolt.Open(cfg.Path, 0o600, &bolt.Options{Timeout: time.Second}); err != nil {
		if errors.Is(err, berrors.ErrTimeout) {
			err = errors.New("another process has opened it")
		}
		return nil, fmt.Errorf("open the witness's file %s: %w", cfg.Path, err)
	}
	if err := w.db.Update(w.bind); err != nil {
		return nil, errors.Join(err, w.db.Close())
	}
	w.mux.HandleFunc("POST /add-checkpoint", w.addCheckpoint)
	w.mux.HandleFunc("GET /{origin}/checkpoint", w.getCheckpoint)
	return w, nil
}

// bind compares the file's key with ours.
func (w *Witness) bind(tx *bolt.Tx) error {
	public := w.cfg.Key.Public().String()
	meta := tx.Bucket(bucketMeta)
	switch {
	case meta == nil && !w.cfg.Create:
		return fmt.Errorf("%w: %s is empty", ErrNoState, w.cfg.Path)
	case meta == nil:
		meta, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucket(bucketCheckpoints); err != nil {
			return err
		}
		return meta.Put(metaKey, []byte(public))
	case string(meta.Get(metaKey)) != public:
		return fmt.Errorf("%w: %s is of the key %s, and the key given is %s", ErrNoState, w.cfg.Path, meta.Get(metaKey), public)
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (w *Witness) ServeHTTP(out http.ResponseWriter, r *http.Request) { w.mux.ServeHTTP(out, r) }

// Close closes the file.
func (w *Witness) Close() error { return w.db.Close() }
