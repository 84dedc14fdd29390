package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/internal/boltfile"
	"github.com/stelehq/stele/ledger/journal"
	"golang.org/x/sync/errgroup"
)

// Journal is what a replica needs of the journal.
type Journal interface {
	Epoch() ledger.Epoch
	Shards() int
	// Last is the shard's last sequence, as its leader says.
	Last(ctx context.Context, shard int) (ledger.Sequence, error)
	// LastOf is the tenant's last sequence, as its leader says.
	LastOf(ctx context.Context, t ledger.Tenant) (ledger.Sequence, error)
	Read(ctx context.Context, shard int, seq ledger.Sequence) (journal.Message, error)
	// Follow hands over every message after a sequence, in order, until ctx
	// ends or handle fails.
	Follow(ctx context.Context, shard int, after ledger.Sequence, tenants []ledger.Tenant, handle func(journal.Message) error) error
}

// How often the replica asks the journal whether it holds everything (which
// bounds the age of its answers), and flushes what is applied.
const (
	pollInterval  = 500 * time.Millisecond
	flushInterval = 5 * time.Second
)

// rewindPatience is how long a journal must go on ending before what was seen
// until that is believed: a leader that was just elected may not have applied
// yet what it holds.
var rewindPatience = 20 * time.Second

// Follow starts following the journal, until Close. Call it once. The error
// tells that the replica is of another ledger, or that its file cannot be made.
func (r *Replica) Follow(j Journal) error {
	s := r.store.Load()
	if s != nil && s.Epoch != j.Epoch() {
		return fmt.Errorf("replica %s is of the ledger %s, and the journal of %s: give this ledger a folder of its own", r.cfg.Path, s.Epoch, j.Epoch())
	}
	if s != nil && s.Shards != j.Shards() {
		return fmt.Errorf("replica %s has %d shards, and the journal %d", r.cfg.Path, s.Shards, j.Shards())
	}
	if s == nil {
		if err := r.build(j); err != nil {
			return err
		}
	}
	r.done.Go(func() { r.run(j) })
	return nil
}

func (r *Replica) build(j Journal) error {
	s, err := openStore(r.cfg.Path, r.cfg.Tenants, &boltfile.Origin{Epoch: j.Epoch(), Shards: j.Shards()})
	if err != nil {
		return err
	}
	r.store.Store(s)
	return nil
}

// run follows until Close, a contradiction, or for as long as files can be
// rebuilt.
func (r *Replica) run(j Journal) {
	for r.ctx.Err() == nil {
		s := r.store.Load()
		err := r.follow(s, j)
		switch {
		case r.ctx.Err() != nil:
			return
		case errors.Is(err, boltfile.ErrDamaged):
			if err := r.rebuild(s, j, err); err != nil {
				r.stop(err)
				return
			}
		case contradiction(err):
			r.stop(err)
			return
		default:
			r.cfg.Log.Warn("replica cannot follow the journal; trying again", "error", err)
			select {
			case <-time.After(pollInterval):
			case <-r.ctx.Done():
			}
		}
	}
}

// rebuild sets the file aside and starts an empty one. Views answer that the
// replica is being built until it holds everything again.
func (r *Replica) rebuild(s *store, j Journal, why error) error {
	r.store.Store(nil)
	close(s.gone)
	if err := s.close(); err != nil {
		r.cfg.Log.Warn("close damaged replica", "error", err)
	}
	if err := kind.SetAside(r.cfg.Path, r.cfg.Log, why); err != nil {
		return err
	}
	return r.build(j)
}

func (r *Replica) reportDamage(s *store, err error) {
	select {
	case r.damage <- damageReport{s, err}:
	default: // one report is enough
	}
}

// errContradiction is a journal that does not hold what the replica has seen.
var errContradiction = errors.New("the journal contradicts what was seen")

func contradiction(err error) bool {
	var chain *ledger.ChainError
	var gap *journal.GapError
	return errors.Is(err, errContradiction) || errors.As(err, &chain) || errors.As(err, &gap)
}

// follow runs everything that keeps one store current, until the first of it
// fails.
func (r *Replica) follow(s *store, j Journal) error {
	group, ctx := errgroup.WithContext(r.ctx)
	for shard := range s.Shards {
		tenants := r.within(shard, s.Shards)
		if len(tenants) == 0 && len(r.cfg.Tenants) > 0 {
			s.observe(shard, 0, time.Now()) // holds none of ours: current for ever
			continue
		}
		group.Go(func() error { return r.followShard(ctx, s, j, shard, tenants) })
		group.Go(func() error { return r.poll(ctx, s, j, shard, tenants) })
	}
	group.Go(func() error { return r.flushLoop(ctx, s) })
	group.Go(func() error { return r.scrub(ctx, s) })
	group.Go(func() error {
		for {
			select {
			case d := <-r.damage:
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

// within are the tenants, of those that are held, that a shard of so many holds.
func (r *Replica) within(shard, shards int) []ledger.Tenant {
	return slices.DeleteFunc(slices.Clone(r.cfg.Tenants), func(t ledger.Tenant) bool {
		return journal.ShardOf(t, shards) != shard
	})
}

func (r *Replica) followShard(ctx context.Context, s *store, j Journal, shard int, tenants []ledger.Tenant) error {
	after := s.position(shard)
	if err := r.checkPosition(ctx, s, j, shard, after); err != nil {
		return err
	}
	return j.Follow(ctx, shard, after, tenants, func(m journal.Message) error {
		if !s.holds(m) {
			commits, err := ledger.DecodeRecord(m.Record)
			if err != nil {
				return fmt.Errorf("message %d of shard %d: %w: %w", m.Sequence, shard, errContradiction, err)
			}
			if commits[0].Tenant != m.Tenant {
				return fmt.Errorf("message %d of shard %d: %w: it is on the subject of %s and holds a commit of %s",
					m.Sequence, shard, errContradiction, m.Tenant, commits[0].Tenant)
			}
			if err := r.apply(s, m.Sequence, commits); err != nil {
				return err
			}
		}
		s.advance(shard, m.Sequence)
		return nil
	})
}

// checkPosition compares the journal with what was seen of it last time.
func (r *Replica) checkPosition(ctx context.Context, s *store, j Journal, shard int, seen ledger.Sequence) error {
	if seen == 0 {
		return nil
	}
	if err := r.reaches(ctx, j, shard, nil, seen); err != nil {
		return err
	}
	m, err := j.Read(ctx, shard, seen)
	if errors.Is(err, journal.ErrNoMessage) {
		return fmt.Errorf("%w: shard %d has lost its message %d", errContradiction, shard, seen)
	}
	if err != nil {
		return fmt.Errorf("read message %d of shard %d: %w", seen, shard, err)
	}
	commits, err := ledger.DecodeRecord(m.Record)
	if err != nil {
		return fmt.Errorf("%w: message %d of shard %d: %w", errContradiction, seen, shard, err)
	}
	newest := commits[len(commits)-1]
	s.mu.RLock()
	defer s.mu.RUnlock()
	if ts := s.tenants[newest.Tenant]; ts == nil || ts.head.Revision < newest.Revision {
		return fmt.Errorf("%w: message %d of shard %d holds %s%s, which was never seen", errContradiction, seen, shard, newest.Tenant, newest.Revision)
	}
	return s.same(newest)
}

// reaches makes sure that the journal does not end before what was seen.
func (r *Replica) reaches(ctx context.Context, j Journal, shard int, tenants []ledger.Tenant, seen ledger.Sequence) error {
	last, err := boltfile.End(ctx, seen, pollInterval, rewindPatience, func() (ledger.Sequence, error) { return r.end(ctx, j, shard, tenants) })
	if err == nil && last < seen {
		err = fmt.Errorf("%w: shard %d ends at %d, and %d was seen: it was cut, restored from a backup, or made again", errContradiction, shard, last, seen)
	}
	return err
}

// poll asks again and again where the journal ends.
func (r *Replica) poll(ctx context.Context, s *store, j Journal, shard int, tenants []ledger.Tenant) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		asked := time.Now()
		last, err := r.end(ctx, j, shard, tenants)
		switch {
		case err != nil:
			r.cfg.Log.Debug("ask the journal for its end", "shard", shard, "error", err)
		case last < s.position(shard): // or the position has moved on since
			if err := r.reaches(ctx, j, shard, tenants, s.position(shard)); err != nil {
				return err
			}
		default:
			s.observe(shard, last, asked)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end is the last sequence that the replica will get to.
func (r *Replica) end(ctx context.Context, j Journal, shard int, tenants []ledger.Tenant) (ledger.Sequence, error) {
	if len(tenants) == 0 {
		return j.Last(ctx, shard)
	}
	var end ledger.Sequence
	for _, t := range tenants {
		last, err := j.LastOf(ctx, t)
		if err != nil {
			return 0, err
		}
		end = max(end, last)
	}
	return end, nil
}

// holds says whether the message is, byte for byte, one that this process
// applied when it appended it: the ordinary case, and cheaper than decoding.
func (s *store) holds(m journal.Message) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range []*tail{s.active, s.frozen} {
		if t == nil || t.tenants[m.Tenant] == nil {
			continue
		}
		commits := t.tenants[m.Tenant].commits
		first, found := slices.BinarySearchFunc(commits, m.Sequence, func(c tailCommit, seq ledger.Sequence) int {
			return int(int64(c.sequence) - int64(seq))
		})
		if !found {
			continue
		}
		rest := m.Record
		for _, c := range commits[first:] {
			if c.sequence != m.Sequence {
				break
			}
			var ok bool
			if rest, ok = bytes.CutPrefix(rest, ledger.RecordItem(len(c.Encoded))); !ok {
				return false
			}
			if rest, ok = bytes.CutPrefix(rest, c.Encoded); !ok {
				return false
			}
		}
		return len(rest) == 0
	}
	return false
}

// flushLoop flushes when a tail is full, and what there is every few seconds.
func (r *Replica) flushLoop(ctx context.Context, s *store) error {
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.full:
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if s.pending() {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
}
