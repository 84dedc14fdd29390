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
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
)

// Config says what to replicate and where.
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

	// store is replaced when its file is rebuilt; nil until there is one.
	store   atomic.Pointer[store]
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

// Stopped says why the replica follows the journal no longer; nil while it does.
func (r *Replica) Stopped() error {
	if err := r.stopped.Load(); err != nil {
		return *err
	}
	return nil
}

// stop ends following permanently: the journal contradicts what the replica has seen.
func (r *Replica) stop(why error) {
	if r.stopped.CompareAndSwap(nil, &why) {
		r.cfg.Log.Error("replica stopped: the journal contradicts what was seen; serving what it holds, marked stale", "reason", why)
	}
}

// Head is the tenant's newest commit that the replica holds.
func (r *Replica) Head(t ledger.Tenant) ledger.Head {
	if s := r.store.Load(); s != nil {
		return s.head(t)
	}
	return ledger.Head{}
}

// Wait blocks until the tenant's head is at the revision or past it. The error
// is that of ctx.
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

// WaitPosition blocks until the journal's message at seq is applied.
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
// it later.
func (r *Replica) Apply(seq ledger.Sequence, commits []*ledger.Commit) error {
	s := r.store.Load()
	if s == nil {
		return errNotBuilt
	}
	if err := r.Stopped(); err != nil {
		return fmt.Errorf("%w: %w", ledger.ErrReadOnly, err)
	}
	return r.apply(s, seq, commits)
}

func (r *Replica) apply(s *store, seq ledger.Sequence, commits []*ledger.Commit) error {
	s.waitRoom(r.ctx.Done())
	r.feeds.mu.Lock() // so that feeds get commits in the order in which they became visible
	defer r.feeds.mu.Unlock()
	fresh, err := s.apply(seq, commits)
	if fresh {
		r.feeds.push(commits)
	}
	return err
}

// Epoch is the identity of the ledger that the replica is of; zero before the
// first Follow.
func (r *Replica) Epoch() ledger.Epoch {
	if s := r.store.Load(); s != nil {
		return s.epoch
	}
	return ledger.Epoch{}
}

// Tenants returns how many tenants have a commit.
func (r *Replica) Tenants() int {
	s := r.store.Load()
	if s == nil {
		return 0
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	for _, ts := range s.tenants {
		if ts.head.Revision > 0 {
			n++
		}
	}
	return n
}

// Heads are the newest commits of the tenants from the first at or after a name,
// sorted by name; the ledger's own tenants are left out.
func (r *Replica) Heads(from ledger.Tenant) []TenantHead {
	s := r.store.Load()
	if s == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.heads(func(t ledger.Tenant) bool { return t >= from && !t.Reserved() })
}

// heads are the newest commits of the tenants that are wanted, sorted by name. s.mu is
// held.
func (s *store) heads(wanted func(ledger.Tenant) bool) []TenantHead {
	var out []TenantHead
	for t, ts := range s.tenants {
		if ts.head.Revision > 0 && wanted(t) {
			out = append(out, TenantHead{t, ts.head})
		}
	}
	slices.SortFunc(out, func(a, b TenantHead) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return out
}

// AllHeads are the newest commits of all tenants, including the ledger's own, and the
// position at which they were the newest.
func (r *Replica) AllHeads() ([]TenantHead, ledger.Sequence) {
	s := r.store.Load()
	if s == nil {
		return nil, 0
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.heads(func(ledger.Tenant) bool { return true }), s.position
}

// TenantHead is a tenant's newest commit.
type TenantHead struct {
	Tenant ledger.Tenant
	Head   ledger.Head
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
