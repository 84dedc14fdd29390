// Package replica keeps the journal replayed into one bbolt file, and serves every read
// of current and past states from it.
//
// A replica is exactly the journal up to a position. Its file is disposable: if it is
// damaged, of another format or of other tenants, it is set aside and rebuilt. The
// journal must contain everything that a replica has seen: a journal that is shorter,
// or whose commits chain differently, stops it. The replica then keeps serving its
// data, marked stale, until an operator resolves the contradiction.
//
// Data goes journal -> tail (in memory, visible to readers at once) -> file (in large
// transactions, each with one fsync). Nothing between the journal and a reader waits
// for the disk: after a crash the journal has the commits that the file lacks.
//
// A View is a tenant's state at a revision, and its Commits are the history that led
// there. Both read a snapshot: a transaction of the file and the tails of that moment.
package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	"github.com/stelehq/stele/internal/ledger/internal/follower"
)

// Config defines what to replicate and where.
type Config struct {
	// Path of the file; its folder must exist.
	Path string
	// Tenants to hold, with their bases; empty for all.
	Tenants []ledger.Tenant
	// History is how much of it to keep. A replica that follows a journal keeps all.
	History History
	// Upstream is the addresses that a *ledger.HistoryError names.
	Upstream string
	// TailBytes is the size at which a tail is flushed; 64 MiB by default.
	TailBytes int
	// StaleAfter is the age above which answers are marked stale; 0 for never.
	StaleAfter time.Duration
	Log        *slog.Logger
}

// Replica is open until Close. It is safe for use by many goroutines.
type Replica struct {
	cfg Config

	current
	stopped atomic.Pointer[error]
	damage  chan damageReport
	feeds   feeds
	journal atomic.Pointer[journalReader] // set by Follow

	cancel context.CancelFunc
	done   sync.WaitGroup
	close  sync.Once
	ctx    context.Context // of everything that runs until Close
}

type damageReport struct {
	store *store
	err   error
}

// Open opens the file, if it exists. Reads work at once from its content; Follow makes
// it advance.
func Open(cfg Config) (*Replica, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Replica{cfg: cfg, ctx: ctx, cancel: cancel, damage: make(chan damageReport, 1)}
	s, err := openStore(cfg, nil)
	if errors.Is(err, boltfile.ErrDamaged) {
		err = kind.SetAside(cfg.Path, cfg.Log, err)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	if s != nil {
		r.store.Store(s)
	}
	return r, nil
}

// Close flushes the applied commits and closes the file. Views must be closed first.
func (r *Replica) Close() error {
	var err error
	r.close.Do(func() {
		r.cancel()
		r.done.Wait()
		r.feeds.close()
		if s := r.store.Load(); s != nil {
			err = errors.Join(s.flush(), s.close())
		}
	})
	return err
}

// Stopped returns why the replica follows the journal no longer, a *ledger.StoppedError; nil
// while it does.
func (r *Replica) Stopped() error {
	if err := r.stopped.Load(); err != nil {
		return *err
	}
	return nil
}

// stop ends following permanently: the journal contradicts what the replica has seen.
func (r *Replica) stop(why error) {
	var err error = &ledger.StoppedError{Reason: why}
	if r.stopped.CompareAndSwap(nil, &err) {
		r.cfg.Log.Error("replica stopped: the journal contradicts what was seen; serving what it holds, marked stale", "reason", why)
	}
}

// Wait blocks until the tenant's head is at the revision or past it. The error
// is that of ctx, or ledger.ErrUnavailable while the replica is being built.
func (r *Replica) Wait(ctx context.Context, t ledger.Tenant, rev ledger.Revision) error {
	s := r.store.Load()
	if s == nil {
		return errNotBuilt
	}
	if err := s.wait(ctx, t, rev); err != nil {
		return fmt.Errorf("wait for %s: %w", t, err)
	}
	return nil
}

// Position is the last message of the journal that is applied, with all before it.
func (r *Replica) Position() ledger.Sequence {
	if s := r.store.Load(); s != nil {
		return s.followed().position
	}
	return 0
}

// WaitPosition blocks until the journal's message at seq is applied. Its errors are those of
// Wait.
func (r *Replica) WaitPosition(ctx context.Context, seq ledger.Sequence) error {
	s := r.store.Load()
	if s == nil {
		return errNotBuilt
	}
	if err := s.waitPosition(ctx, seq); err != nil {
		return fmt.Errorf("wait for message %d: %w", seq, err)
	}
	return nil
}

// Apply makes a record visible that was just appended at seq, without waiting
// for the journal to deliver it. The journal's own delivery is checked against
// it later. It waits while the replica's memory is full, until ctx ends.
func (r *Replica) Apply(ctx context.Context, seq ledger.Sequence, commits []*ledger.Commit) error {
	s := r.store.Load()
	if s == nil {
		return errNotBuilt
	}
	if err := r.Stopped(); err != nil {
		return fmt.Errorf("%w: %w", ledger.ErrReadOnly, err)
	}
	err := r.apply(ctx, s, seq, commits)
	if follower.Contradiction(err) { // the record has commits of several tenants, whose callers all get the error
		r.cfg.Log.Error("the journal has taken a record that does not continue what was seen", "sequence", seq, "error", err)
		return &ledger.StoppedError{Reason: err}
	}
	return err
}

func (r *Replica) apply(ctx context.Context, s *store, seq ledger.Sequence, commits []*ledger.Commit) error {
	if err := s.waitRoom(ctx); err != nil {
		return err
	}
	r.feeds.mu.Lock() // so that feeds get commits in the order in which they became visible
	defer r.feeds.mu.Unlock()
	fresh, err := s.apply(seq, commits)
	if fresh {
		r.feeds.push(commits)
	}
	return err
}

// Progress is how far the journal was followed.
type Progress struct {
	// Position is the last message that is applied.
	Position ledger.Sequence
	// Last is the journal's last sequence when it was last asked.
	Last ledger.Sequence
	// Current is when the replica was last known to hold everything; zero if it never
	// was.
	Current time.Time
}

// Progress reports how far the journal was followed; ok is false before the first
// Follow.
func (r *Replica) Progress() (p Progress, ok bool) {
	s := r.store.Load()
	if s == nil {
		return p, false
	}
	f := s.followed()
	return Progress{f.position, f.last, f.current}, true
}

// Ready reports whether the journal has been followed to its end once.
func (r *Replica) Ready() bool {
	p, ok := r.Progress()
	return ok && !p.Current.IsZero()
}
