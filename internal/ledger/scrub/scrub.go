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
	"slices"
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
	Log      *slog.Logger
}

// maxFindings is how many findings about a copy are kept; all are counted.
const maxFindings = 100

// Status is the result of the last pass over one copy.
type Status struct {
	// Server that has the copy; empty if it is the embedded one.
	Server string
	// Completed is when a pass over it last ended; zero before that.
	Completed time.Time
	// Messages that were read in it, and Damaged how many cannot be read, or are not
	// what was written.
	Messages, Damaged uint64
	// Findings describe the damage, of all streams; the first of them, if there are many.
	Findings []string
	// Failed is why it could not be read since; empty if it could.
	Failed string

	begun time.Time // of the pass that is completed
}

// Scrubber reads the journal again and again, until Close.
type Scrubber struct {
	cfg     Config
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex // guards copies
	copies []Status
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

// Status is the result for each copy.
func (s *Scrubber) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.copies)
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
	s.keep(copies)
	for _, c := range copies {
		begun := time.Now()
		if s.due(c.Server(), begun) {
			p, err := s.pass(ctx, c)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s.note(c.Server(), begun, p, err)
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

// keep drops the results of servers that hold no copy anymore.
func (s *Scrubber) keep(copies []journal.Copy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.copies
	s.copies = nil
	for _, c := range copies {
		st := Status{Server: c.Server()}
		if i := slices.IndexFunc(old, func(o Status) bool { return o.Server == st.Server }); i >= 0 {
			st = old[i]
		}
		s.copies = append(s.copies, st)
	}
}

// result is the status of a copy that is kept. The mutex is held.
func (s *Scrubber) result(server string) *Status {
	return &s.copies[slices.IndexFunc(s.copies, func(c Status) bool { return c.Server == server })]
}

func (s *Scrubber) due(server string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.result(server)
	return st.Failed != "" || now.Sub(st.begun) >= s.cfg.Interval
}

// note keeps the result for a copy, and logs what is new in it. Findings count even if
// the pass failed later.
func (s *Scrubber) note(server string, begun time.Time, p *pass, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, failed := s.result(server), ""
	if err != nil {
		failed = err.Error()
	}
	if failed != "" && failed != st.Failed {
		s.cfg.Log.Warn("cannot compare the journal with the tree; trying again", "server", server, "error", err)
	}
	st.Failed = failed
	for _, f := range p.findings {
		if !slices.Contains(st.Findings, f) {
			s.cfg.Log.Error("the journal is damaged: see Damaged journal in docs/operations.md", "server", server, "found", f)
		}
	}
	if err == nil && len(st.Findings) > 0 && len(p.findings) == 0 {
		s.cfg.Log.Info("the journal is not damaged anymore", "server", server)
	}
	if err == nil {
		st.begun, st.Completed, st.Messages = begun, time.Now(), p.messages
	}
	if err == nil || p.lost > 0 {
		st.Damaged, st.Findings = p.lost, p.findings
	}
}
