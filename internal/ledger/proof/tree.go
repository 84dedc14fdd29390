package proof

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	"github.com/stelehq/stele/internal/ledger/internal/follower"
)

var (
	// ErrStopped: the tree follows and signs no longer, because the journal or the
	// stream of checkpoints contradicts what it has seen.
	ErrStopped = errors.New("the tree has stopped")
	// ErrNotCovered: the commit is not in the tree of that size.
	ErrNotCovered = errors.New("not covered")
	// ErrNoSuchSize: the tree has not grown to that size.
	ErrNoSuchSize = errors.New("no tree of that size")

	errNotBuilt = fmt.Errorf("%w: the tree is still being built from the journal; try again", ledger.ErrUnavailable)
)

// Config defines where a tree is kept.
type Config struct {
	// Path of the file; its folder must exist.
	Path string
	Log  *slog.Logger
	// Keys, if set, is called with the ledger's public keys, as Verifier.Keys writes
	// them, whenever the signer reads a checkpoint that another process has signed.
	Keys func(keys string) error
}

// Tree holds the tree in a bbolt file, until Close. Its methods may be called
// concurrently.
type Tree struct {
	cfg Config

	// store is replaced when its file is rebuilt; nil until there is one.
	store   atomic.Pointer[store]
	stopped atomic.Pointer[error]
	damage  chan damageReport
	// grown holds one token when there may be something to sign.
	grown   chan struct{}
	journal follower.Journal // set by Follow

	// compared is set if the journal was found to hold what the file has seen; agreed is the
	// same of the newest checkpoint, and signs whether there are any.
	compared, agreed, signs atomic.Bool

	mu sync.Mutex // guards what follows
	// newest checkpoint that this process has verified.
	newest Signed
	// changed is closed and replaced when there is a newer one.
	changed chan struct{}
	// splitViews are checkpoints of the ledger's key that contradict the tree.
	splitViews map[Checkpoint]bool

	ctx    context.Context // of everything that runs until Close
	cancel context.CancelFunc
	done   sync.WaitGroup
	close  sync.Once
}

type damageReport struct {
	store *store
	err   error
}

// OpenTree opens the file, if it exists. Proofs can be made at once from its content;
// Follow makes it grow, and Sign has its root signed.
func OpenTree(cfg Config) (*Tree, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t := &Tree{cfg: cfg, damage: make(chan damageReport, 1), grown: make(chan struct{}, 1), changed: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	s, err := openStore(cfg.Path, nil)
	if errors.Is(err, boltfile.ErrDamaged) {
		err = kind.SetAside(cfg.Path, cfg.Log, err)
	}
	if err != nil {
		t.cancel()
		return nil, err
	}
	if s != nil {
		t.store.Store(s)
	}
	return t, nil
}

// Close stops the tree's goroutines and closes the file. Commits that are not in it yet
// are in the journal.
func (t *Tree) Close() error {
	var err error
	t.close.Do(func() {
		t.cancel()
		t.done.Wait()
		if s := t.store.Load(); s != nil {
			err = s.close()
		}
	})
	return err
}

// Epoch is the identity of the ledger that the tree is of; zero before the first Follow.
func (t *Tree) Epoch() ledger.Epoch {
	if s := t.store.Load(); s != nil {
		return s.epoch
	}
	return ledger.Epoch{}
}

// Stopped returns why the tree grows and signs no longer, wrapping ErrStopped and a
// *ledger.StoppedError; nil while it does.
func (t *Tree) Stopped() error {
	if err := t.stopped.Load(); err != nil {
		return *err
	}
	return nil
}

// Compared is nil once the journal was found to hold everything that the tree has seen and, if
// this process signs, everything that the newest checkpoint covers. Until then the error is
// ledger.ErrUnavailable, and ledger.ErrReadOnly if it does not.
func (t *Tree) Compared() error {
	with := ""
	switch err := t.Stopped(); {
	case err != nil:
		return fmt.Errorf("%w: %w", ledger.ErrReadOnly, err)
	case !t.compared.Load():
		with = "tree"
	case t.signs.Load() && !t.agreed.Load():
		with = "newest checkpoint"
	default:
		return nil
	}
	return fmt.Errorf("%w: the journal is being compared with the %s", ledger.ErrUnavailable, with)
}

// stop ends the tree permanently: any later signature could contradict an earlier one.
func (t *Tree) stop(why error) {
	err := fmt.Errorf("%w: %w", ErrStopped, &ledger.StoppedError{Reason: why})
	if t.stopped.CompareAndSwap(nil, &err) {
		t.cfg.Log.Error("the tree has stopped and no checkpoint is signed anymore: find out how the ledger was changed", "reason", why)
	}
}

func (t *Tree) reportDamage(s *store, err error) {
	select {
	case t.damage <- damageReport{s, err}:
	default: // one report is enough
	}
}
