package proof

import (
	"context"
	"fmt"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/follower"
	"github.com/stelehq/stele/internal/ledger/journal"
	"golang.org/x/sync/errgroup"
)

var (
	// interval is the time between two appends to the file, two checkpoints, and two
	// looks at where the journal ends.
	interval = time.Second
	// rewindGrace is how long a stream must stay shorter than it was until that is
	// believed: a newly elected leader may not have applied all its messages yet.
	rewindGrace = 20 * time.Second
)

// batchCommits is how many commits are appended without waiting for the interval
// to end.
const batchCommits = 50_000

// Follow starts following the journal, until Close. Call it once. The error reports
// that the tree is of another ledger, or that its file cannot be created.
func (t *Tree) Follow(j follower.Journal) error {
	s := t.store.Load()
	if s != nil && s.epoch != j.Epoch() {
		return fmt.Errorf("tree %s is of the ledger %s, and the journal of %s: give this ledger a folder of its own", t.cfg.Path, s.epoch, j.Epoch())
	}
	if s == nil {
		if err := t.build(j.Epoch()); err != nil {
			return err
		}
	}
	t.journal = j
	f := &follower.Follower{
		Name: "tree", Journal: j, Log: t.cfg.Log, Interval: interval, RewindGrace: rewindGrace,
		File:    func() follower.File { return &followed{t, t.store.Load(), make(chan record, 1024)} },
		Rebuild: func(why error) error { return t.rebuild(j.Epoch(), why) },
		Stop:    t.stop,
	}
	t.done.Go(func() { f.Run(t.ctx) })
	return nil
}

func (t *Tree) build(e ledger.Epoch) error {
	s, err := openStore(t.cfg.Path, &e)
	if err != nil {
		return err
	}
	t.store.Store(s)
	return nil
}

// rebuild sets the file aside and starts an empty one. After an error, it can be called again.
func (t *Tree) rebuild(e ledger.Epoch, why error) error {
	if s := t.store.Load(); s != nil {
		t.store.Store(nil)
		t.compared.Store(false)
		t.agreed.Store(false)
		if err := s.close(); err != nil {
			t.cfg.Log.Warn("close damaged tree", "error", err)
		}
	}
	if err := kind.SetAside(t.cfg.Path, t.cfg.Log, why); err != nil {
		return err
	}
	return t.build(e)
}

// followed is a store that grows with the journal.
type followed struct {
	t *Tree
	*store
	records chan record // that wait to be appended
}

func (f *followed) Position() (ledger.Sequence, error) {
	state, err := f.state()
	return state.position, err
}

// Compared implements follower.File.
func (f *followed) Compared(ledger.Sequence) { f.t.compared.Store(true) }

func (f *followed) Ended(ledger.Sequence, time.Time) {}

func (f *followed) Recheck(ctx context.Context) error { return f.scrub(ctx) }

// Same checks that the tree ends with the message's commits.
func (f *followed) Same(m journal.Message) error {
	r, err := recordOf(m, f.epoch)
	if err != nil {
		return err
	}
	same, err := f.endsWith(r)
	if err == nil && !same {
		err = fmt.Errorf("%w: message %d is not the one that was hashed", follower.ErrContradiction, m.Sequence)
	}
	return err
}

func (f *followed) Handle(ctx context.Context, m journal.Message) error {
	r, err := recordOf(m, f.epoch)
	if err != nil {
		return err
	}
	select {
	case f.records <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run appends, and reads the file once.
func (f *followed) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.appendAll(ctx) })
	group.Go(func() error { return f.scrub(ctx) })
	group.Go(func() error {
		for {
			select {
			case d := <-f.t.damage:
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

// appendAll appends the journal's commits, in large transactions.
func (f *followed) appendAll(ctx context.Context) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var batch []record
	commits := 0
	for {
		select {
		case r := <-f.records:
			batch = append(batch, r)
			if commits += r.commits(); commits < batchCommits {
				continue
			}
		case <-tick.C:
			if commits == 0 {
				continue
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := f.append(batch); err != nil {
			return err
		}
		batch, commits = batch[:0], 0
		select {
		case f.t.grown <- struct{}{}:
		default:
		}
	}
}
