package replica

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/follower"
	"github.com/stelehq/stele/internal/ledger/journal"
	"golang.org/x/sync/errgroup"
)

// The intervals at which the replica asks the journal whether it is complete (which
// bounds the age of its answers), and flushes applied commits.
const pollInterval = 500 * time.Millisecond

var flushInterval = 5 * time.Second // a variable for tests

// rewindGrace is the follower's RewindGrace.
var rewindGrace = 20 * time.Second

// Follow starts following the journal, until Close. Call it once. The error reports
// that the replica is of another ledger, or that its file cannot be created.
func (r *Replica) Follow(j follower.Journal) error {
	s := r.store.Load()
	if s != nil && s.epoch != j.Epoch() {
		return fmt.Errorf("replica %s is of the ledger %s, and the journal of %s: give this ledger a folder of its own", r.cfg.Path, s.epoch, j.Epoch())
	}
	if s != nil && s.dropped() {
		if err := r.rebuild(j.Epoch(), errors.New("it does not keep all history, which a replica of a journal needs")); err != nil {
			return err
		}
	}
	if s == nil {
		if err := r.build(j.Epoch()); err != nil {
			return err
		}
	}
	reader := journalReader(j)
	r.journal.Store(&reader)
	f := &follower.Follower{
		Name: "replica", Journal: j, Log: r.cfg.Log, Interval: pollInterval, RewindGrace: rewindGrace,
		File:    func() follower.File { return &followed{r, r.store.Load()} },
		Rebuild: func(why error) error { return r.rebuild(j.Epoch(), why) },
		Stop:    r.stop,
	}
	r.done.Go(func() { f.Run(r.ctx) })
	return nil
}

func (r *Replica) build(e ledger.Epoch) error {
	s, err := openStore(r.cfg, &e)
	if err != nil {
		return err
	}
	r.store.Store(s)
	return nil
}

// rebuild rebuilds the replica, usually after damage: it sets the file aside, or removes it if it
// only lacks the history of a pin, and starts an empty one. Views answer that the replica is being
// built until it holds everything again. After an error, rebuild can be called again.
func (r *Replica) rebuild(e ledger.Epoch, why error) error {
	if s := r.store.Load(); s != nil {
		r.store.Store(nil)
		close(s.gone)
		if err := s.close(); err != nil {
			r.cfg.Log.Warn("close damaged replica", "error", err)
		}
	}
	if errors.Is(why, errPinDropped) { // nothing to examine
		r.cfg.Log.Info("the replica is built again", "reason", why)
		if err := os.Remove(r.cfg.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the replica: %w", err)
		}
	} else if err := kind.SetAside(r.cfg.Path, r.cfg.Log, why); err != nil {
		return err
	}
	return r.build(e)
}

func (r *Replica) reportDamage(s *store, err error) {
	select {
	case r.damage <- damageReport{s, err}:
	default: // one report is enough
	}
}

// followed is a store that the journal is replayed into.
type followed struct {
	r     *Replica
	store *store
}

func (f *followed) Position() (ledger.Sequence, error) { return f.store.followed().position, nil }

func (f *followed) Ended(last ledger.Sequence, asked time.Time) { f.store.observe(last, asked) }

// Same checks a message that was applied before.
func (f *followed) Same(m journal.Message) error {
	commits, err := decode(m)
	if err != nil {
		return err
	}
	f.store.mu.RLock()
	defer f.store.mu.RUnlock()
	return f.store.same(commits)
}

// Handle applies a message. Ordinarily this process has applied it when it appended
// it; then the bytes are compared, which costs less than decoding them.
func (f *followed) Handle(ctx context.Context, m journal.Message) error {
	if !f.store.holds(m) {
		commits, err := decode(m)
		if err != nil {
			return err
		}
		if err := f.r.apply(ctx, f.store, m.Sequence, commits); err != nil {
			return err
		}
	}
	f.store.confirm(m.Sequence, m.Consumer)
	return nil
}

// Compared implements follower.File.
func (f *followed) Compared(position ledger.Sequence) { f.store.confirm(position, nil) }

func decode(m journal.Message) ([]*ledger.Commit, error) {
	commits, err := ledger.DecodeRecord(m.Record)
	if err != nil {
		return nil, fmt.Errorf("message %d: %w: %w", m.Sequence, follower.ErrContradiction, err)
	}
	return commits, nil
}

// Run flushes, and reads the file once.
func (f *followed) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.store.flushLoop(ctx) })
	group.Go(func() error { return scrub(ctx, f.store.db) })
	group.Go(func() error {
		for {
			select {
			case d := <-f.r.damage:
				if d.store == f.store {
					return d.err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	return group.Wait()
}

// Recheck finds nothing: every entry carries a checksum that was compared when it was
// read.
func (f *followed) Recheck(context.Context) error { return nil }

// holds reports whether the message is, byte for byte, one in a tail.
func (s *store) holds(m journal.Message) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.active.holds(m) || s.frozen != nil && s.frozen.holds(m)
}

// flushLoop flushes when a tail is full, and what there is every few seconds. It also
// drops the history that is not to be kept: at the first tick, after every flush if only
// the heads are kept, and otherwise from time to time.
func (s *store) flushLoop(ctx context.Context) error {
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	var pruned time.Time
	for {
		select {
		case <-s.full:
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		flushed := s.pending()
		if flushed {
			if err := s.flush(); err != nil {
				return err
			}
		}
		now := time.Now()
		if s.history.limited() && (flushed && s.history.HeadOnly || now.Sub(pruned) >= pruneInterval) {
			if err := (pruner{s, maxPruneChanges}).prune(ctx, now); err != nil {
				return err
			}
			pruned = now
		}
	}
}
