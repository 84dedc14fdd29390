// Package scrub looks for damage in the journal while it is in use.
//
// Disks lose bits, and no program notices until it reads them, perhaps when a backup is
// restored. So a Scrubber reads every message of every copy of the journal from time to
// time, and compares its commits with the tree of all commits, which is a file of its
// own. Damage stops neither reads nor writes: it is reported until a later pass does not
// find it.
package scrub

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
)

// Journal has the copies to read.
type Journal interface {
	Copies(ctx context.Context) ([]journal.Copy, error)
}

// Tree is what the messages are compared with.
type Tree interface {
	// Hashed is the last message whose commits the tree has, and how many commits that
	// are.
	Hashed() (ledger.Sequence, int64, error)
	// Leaves compares a message with the tree, and returns the leaves that its commits
	// are. The error wraps proof.ErrDiffers if it is not the message that was hashed.
	Leaves(m journal.Message) (from, to int64, err error)
}

// Config defines what to scrub.
type Config struct {
	Journal Journal
	Tree    Tree
	// Interval is the time between the beginnings of two passes. A pass that takes
	// longer is followed by the next.
	Interval time.Duration
	// Results keeps what is found.
	Results *Results
	Log     *slog.Logger
}

// Scrubber reads the journal again and again, until Close.
type Scrubber struct {
	cfg     Config
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Start starts to scrub.
func Start(cfg Config) *Scrubber {
	s := &Scrubber{cfg: cfg}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.running.Go(func() { s.run(ctx) })
	return s
}

// Close stops the scrubber and waits for it.
func (s *Scrubber) Close() {
	s.cancel()
	s.running.Wait()
}

// retryAfter is the time to the next try after one that failed.
const retryAfter = time.Minute

func (s *Scrubber) run(ctx context.Context) {
	for ctx.Err() == nil {
		next := time.Now().Add(min(s.cfg.Interval, retryAfter))
		if err := s.scrubDue(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("cannot compare the journal with the tree; trying again", "error", err)
		}
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
		}
	}
}

// scrubDue reads every copy that was not read within the interval.
func (s *Scrubber) scrubDue(ctx context.Context) error {
	copies, err := s.cfg.Journal.Copies(ctx)
	if err != nil {
		return err
	}
	servers := make([]string, len(copies))
	for i, c := range copies {
		servers[i] = c.Server()
	}
	s.cfg.Results.keep(servers)
	for _, c := range copies {
		begun := time.Now()
		if s.cfg.Results.due(c.Server(), begun, s.cfg.Interval) {
			p, err := s.pass(ctx, c)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s.cfg.Results.note(c.Server(), begun, p, err)
		}
	}
	return nil
}

// pass reads a copy once.
func (s *Scrubber) pass(ctx context.Context, c journal.Copy) (*pass, error) {
	p := &pass{tree: s.cfg.Tree, paced: time.Now()}
	position, size, err := s.cfg.Tree.Hashed()
	if err != nil {
		return p, err
	}
	err = c.Read(ctx, position, func(m journal.Message) error { return p.message(ctx, m) }, p.damaged)
	if err == nil && p.lost == 0 && p.next != size {
		err = errMoved
	}
	return p, err
}

// errMoved is a tree that was rebuilt during a pass.
var errMoved = errors.New("the tree has another size than when the pass began")
