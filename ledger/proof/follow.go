package proof

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/internal/boltfile"
	"github.com/stelehq/stele/ledger/journal"
	"golang.org/x/sync/errgroup"
)

// Journal is what a tree needs of the journal.
type Journal interface {
	Epoch() ledger.Epoch
	Shards() int
	// Last is the shard's last sequence, as its leader says.
	Last(ctx context.Context, shard int) (ledger.Sequence, error)
	Read(ctx context.Context, shard int, seq ledger.Sequence) (journal.Message, error)
	// Follow hands over every message after a sequence, in order, until ctx
	// ends or handle fails.
	Follow(ctx context.Context, shard int, after ledger.Sequence, tenants []ledger.Tenant, handle func(journal.Message) error) error
}

var (
	// interval is the time between two appends to the file, two checkpoints of a
	// shard, and two looks at where the journal ends.
	interval = time.Second
	// rewindPatience is how long something must go on being shorter than it was
	// until that is believed: a leader that was just elected may not have applied
	// yet what it holds.
	rewindPatience = 20 * time.Second
)

// batchCommits is how many commits are appended without waiting for the interval
// to end.
const batchCommits = 50_000

// Follow starts following the journal, until Close. Call it once. The error tells
// that the tree is of another ledger, or that its file cannot be made.
func (t *Tree) Follow(j Journal) error {
	s := t.store.Load()
	switch {
	case s == nil:
		if err := t.build(j); err != nil {
			return err
		}
	case s.Epoch != j.Epoch():
		return fmt.Errorf("tree %s is of the ledger %s, and the journal of %s: give this ledger a folder of its own", t.cfg.Path, s.Epoch, j.Epoch())
	case s.Shards != j.Shards():
		return fmt.Errorf("tree %s has %d shards, and the journal %d", t.cfg.Path, s.Shards, j.Shards())
	}
	t.journal = j
	t.done.Go(func() { t.run(j) })
	return nil
}

func (t *Tree) build(j Journal) error {
	s, err := openStore(t.cfg.Path, &boltfile.Origin{Epoch: j.Epoch(), Shards: j.Shards()})
	if err != nil {
		return err
	}
	t.store.Store(s)
	return nil
}

// run follows until Close, a contradiction, or for as long as files can be
// rebuilt.
func (t *Tree) run(j Journal) {
	for t.ctx.Err() == nil {
		s := t.store.Load()
		err := t.follow(s, j)
		var gap *journal.GapError
		if errors.As(err, &gap) {
			err = fmt.Errorf("%w: %w", errContradiction, err)
		}
		err = t.accuse(s, err)
		switch {
		case t.ctx.Err() != nil:
			return
		case errors.Is(err, boltfile.ErrDamaged):
			if err := t.rebuild(s, j, err); err != nil {
				t.stop(err)
				return
			}
		case errors.Is(err, errContradiction):
			t.stop(err)
			return
		default:
			t.cfg.Log.Warn("the tree cannot follow the journal; trying again", "error", err)
			select {
			case <-time.After(interval):
			case <-t.ctx.Done():
			}
		}
	}
}

// accuse looks at the file once more before it is a witness against the journal
// or a checkpoint: damage may hide what was seen, and a damaged file is rebuilt.
func (t *Tree) accuse(s *store, err error) error {
	if errors.Is(err, errContradiction) {
		if found := s.scrub(t.ctx); errors.Is(found, boltfile.ErrDamaged) {
			return found
		}
	}
	return err
}

// rebuild sets the file aside and starts an empty one.
func (t *Tree) rebuild(s *store, j Journal, why error) error {
	t.store.Store(nil)
	if err := s.close(); err != nil {
		t.cfg.Log.Warn("close damaged tree", "error", err)
	}
	if err := kind.SetAside(t.cfg.Path, t.cfg.Log, why); err != nil {
		return err
	}
	return t.build(j)
}

// follow runs everything that makes one file grow, until the first of it fails.
func (t *Tree) follow(s *store, j Journal) error {
	states, err := s.states()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(t.ctx)
	records := make(chan record, 1024)
	for shard, state := range states {
		group.Go(func() error { return t.followShard(ctx, j, shard, state, s, records) })
	}
	group.Go(func() error { return t.appendAll(ctx, s, records) })
	group.Go(func() error { return s.scrub(ctx) })
	group.Go(func() error {
		for {
			select {
			case d := <-t.damage:
				if d.store == s {
					return d.err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	return group.Wait()
}

func (t *Tree) followShard(ctx context.Context, j Journal, shard int, state shardState, s *store, records chan<- record) error {
	if err := t.checkPosition(ctx, j, shard, state, s); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return j.Follow(ctx, shard, state.position, nil, func(m journal.Message) error {
			r, err := recordOf(m, s.Origin)
			if err != nil {
				return err
			}
			select {
			case records <- r:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	group.Go(func() error { return t.watchEnd(ctx, j, shard, s) })
	return group.Wait()
}

func recordOf(m journal.Message, o boltfile.Origin) (record, error) {
	r, err := readRecord(m.Record, o.Epoch, m.Tenant)
	if err == nil && journal.ShardOf(m.Tenant, o.Shards) != m.Shard {
		err = fmt.Errorf("%s belongs into another shard", m.Tenant)
	}
	if err != nil {
		return r, fmt.Errorf("message %d of shard %d: %w: %w", m.Sequence, m.Shard, errContradiction, err)
	}
	r.shard, r.sequence = m.Shard, m.Sequence
	return r, nil
}

// checkPosition compares the last message that was hashed with what the journal
// holds there now.
func (t *Tree) checkPosition(ctx context.Context, j Journal, shard int, state shardState, s *store) error {
	if state.position == 0 {
		return nil
	}
	if err := t.reaches(ctx, j, shard, state.position); err != nil {
		return err
	}
	m, err := j.Read(ctx, shard, state.position)
	if errors.Is(err, journal.ErrNoMessage) {
		return fmt.Errorf("%w: shard %d has lost its message %d", errContradiction, shard, state.position)
	}
	if err != nil {
		return fmt.Errorf("read message %d of shard %d: %w", state.position, shard, err)
	}
	r, err := recordOf(m, s.Origin)
	if err != nil {
		return err
	}
	same, err := s.endsWith(shard, state.size, r.leaves)
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("%w: message %d of shard %d, which holds %s%s, is not the one that was hashed", errContradiction, state.position, shard, r.tenant, r.first)
	}
	return nil
}

// reaches makes sure that the journal does not end before what was seen.
func (t *Tree) reaches(ctx context.Context, j Journal, shard int, seen ledger.Sequence) error {
	last, err := boltfile.End(ctx, seen, interval, rewindPatience, func() (ledger.Sequence, error) { return j.Last(ctx, shard) })
	if err == nil && last < seen {
		err = fmt.Errorf("%w: shard %d ends at %d, and %d was seen: it was cut, restored from a backup, or made again", errContradiction, shard, last, seen)
	}
	return err
}

// watchEnd looks again and again whether the journal still holds what was seen.
func (t *Tree) watchEnd(ctx context.Context, j Journal, shard int, s *store) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		state, err := s.state(shard)
		if err != nil {
			return err
		}
		if err := t.reaches(ctx, j, shard, state.position); err != nil {
			return err
		}
	}
}

// appendAll appends what the shards bring, in large transactions.
func (t *Tree) appendAll(ctx context.Context, s *store, records <-chan record) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var batch []record
	commits := 0
	for {
		select {
		case r := <-records:
			batch = append(batch, r)
			if commits += len(r.leaves); commits < batchCommits {
				continue
			}
		case <-tick.C:
			if commits == 0 {
				continue
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.append(batch); err != nil {
			return err
		}
		batch, commits = batch[:0], 0
		select {
		case t.grown <- struct{}{}:
		default:
		}
	}
}
