// Package follower keeps the file of a replica or of a tree equal to the journal. It
// checks that the journal still contains everything that the file has seen, delivers
// later messages, has a damaged file rebuilt, and stops at a journal that contradicts
// what was seen.
package follower

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	"github.com/stelehq/stele/internal/ledger/journal"
	"golang.org/x/sync/errgroup"
)

// ErrContradiction is a journal that no longer contains what was seen of it.
var ErrContradiction = errors.New("the journal contradicts what was seen")

// Journal is the part of the journal that a follower uses.
type Journal interface {
	Epoch() ledger.Epoch
	// Last is the last sequence, as the stream's leader reports it.
	Last(ctx context.Context) (ledger.Sequence, error)
	Read(ctx context.Context, seq ledger.Sequence) (journal.Message, error)
	// Follow hands over every message after one that was seen, in order, until ctx ends or
	// handle fails. The zero Message stands for the beginning.
	Follow(ctx context.Context, after journal.Message, handle func(journal.Message) error) error
}

// File is the file that a journal is replayed into. An error of its methods ends
// following: one with boltfile.ErrDamaged in its chain has the file rebuilt, and a
// contradiction (ErrContradiction, *ledger.ChainError, *journal.GapError,
// *journal.ChangedError) stops it.
type File interface {
	// Position is the last message that the file has.
	Position() (ledger.Sequence, error)
	// Same checks that the message at the position is the one that the file has.
	Same(m journal.Message) error
	// Compared is called once the journal was found to hold the message at the position,
	// and so everything that the file has seen.
	Compared(position ledger.Sequence)
	// Handle takes the next message.
	Handle(ctx context.Context, m journal.Message) error
	// Ended reports where the journal ended when it was asked, at or after the position.
	Ended(last ledger.Sequence, asked time.Time)
	// Run does the file's background work, until ctx ends or it fails.
	Run(ctx context.Context) error
	// Recheck looks for damage in the file before it counts as evidence against the
	// journal.
	Recheck(ctx context.Context) error
}

// Follower names the file and the journal that it follows.
type Follower struct {
	// Name of the file's kind, for messages.
	Name    string
	Journal Journal
	Log     *slog.Logger
	// File is the current file.
	File func() File
	// Rebuild sets the file aside and starts an empty one. It is called again until it
	// succeeds: a disk may be full for a while.
	Rebuild func(why error) error
	// Stop is called when following ends because of a contradiction.
	Stop func(why error)
	// Interval is the time between two looks at where the journal ends, and between
	// two tries to follow it or to rebuild the file.
	Interval time.Duration
	// RewindGrace is how long a journal must report an end before the last seen message
	// until the follower believes it: a newly elected leader may not have applied all
	// its messages yet.
	RewindGrace time.Duration
}

// Run follows until ctx ends or the journal contradicts what was seen.
func (f *Follower) Run(ctx context.Context) {
	for ctx.Err() == nil {
		file := f.File()
		err := f.follow(ctx, file)
		if Contradiction(err) {
			if found := file.Recheck(ctx); errors.Is(found, boltfile.ErrDamaged) {
				err = found
			}
		}
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, boltfile.ErrDamaged):
			f.rebuild(ctx, err)
		case Contradiction(err):
			f.Stop(err)
			return
		default:
			f.Log.Warn("the "+f.Name+" cannot follow the journal; retrying", "error", err)
			f.pause(ctx)
		}
	}
}

// rebuild has a damaged file rebuilt. It tries until it succeeds, or ctx ends.
func (f *Follower) rebuild(ctx context.Context, why error) {
	for ctx.Err() == nil {
		err := f.Rebuild(why)
		if err == nil {
			return
		}
		f.Log.Error("the "+f.Name+" cannot be rebuilt from the journal; retrying", "error", err)
		f.pause(ctx)
	}
}

// pause waits between two tries.
func (f *Follower) pause(ctx context.Context) {
	select {
	case <-time.After(f.Interval):
	case <-ctx.Done():
	}
}

// Contradiction reports whether an error says that the journal does not hold what was seen.
func Contradiction(err error) bool {
	var chain *ledger.ChainError
	var gap *journal.GapError
	var changed *journal.ChangedError
	return errors.Is(err, ErrContradiction) || errors.As(err, &chain) || errors.As(err, &gap) || errors.As(err, &changed)
}

// follow runs everything that keeps one file current, until the first of it fails.
func (f *Follower) follow(ctx context.Context, file File) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		seen, err := f.checkPosition(ctx, file)
		if err != nil {
			return err
		}
		file.Compared(seen.Sequence)
		return f.Journal.Follow(ctx, seen, func(m journal.Message) error { return file.Handle(ctx, m) })
	})
	group.Go(func() error { return f.watchEnd(ctx, file) })
	group.Go(func() error { return file.Run(ctx) })
	return group.Wait()
}

// checkPosition compares the journal with the message that was seen last, and returns that
// message; the zero one if the file has seen none.
func (f *Follower) checkPosition(ctx context.Context, file File) (seen journal.Message, err error) {
	position, err := file.Position()
	if position == 0 || err != nil {
		return seen, err
	}
	if err := f.reaches(ctx, position); err != nil {
		return seen, err
	}
	seen, err = f.Journal.Read(ctx, position)
	if errors.Is(err, journal.ErrNoMessage) {
		return seen, fmt.Errorf("%w: it has lost message %d", ErrContradiction, position)
	}
	if err != nil {
		return seen, err
	}
	return seen, file.Same(seen)
}

// reaches makes sure that the journal does not end before the last seen message.
func (f *Follower) reaches(ctx context.Context, seen ledger.Sequence) error {
	last, err := f.end(ctx, seen)
	if err == nil && last < seen {
		err = fmt.Errorf("%w: it ends at message %d, and %d was seen: it was cut, restored from a backup, or created again", ErrContradiction, last, seen)
	}
	return err
}

// end asks for the journal's last sequence until it is at least the last seen one. A
// smaller one is returned if the journal has reported it for as long as RewindGrace. The
// error is that of ctx.
func (f *Follower) end(ctx context.Context, seen ledger.Sequence) (ledger.Sequence, error) {
	var short time.Time // since when the journal has been reporting an end before it
	for {
		last, err := f.Journal.Last(ctx)
		switch {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case err != nil: // a missing answer is not a contradiction
			short = time.Time{}
		case last >= seen:
			return last, nil
		case short.IsZero():
			short = time.Now()
		case time.Since(short) >= f.RewindGrace:
			return last, nil
		}
		select {
		case <-time.After(min(f.Interval, f.RewindGrace)):
		case <-ctx.Done():
		}
	}
}

// watchEnd asks again and again where the journal ends.
func (f *Follower) watchEnd(ctx context.Context, file File) error {
	tick := time.NewTicker(f.Interval)
	defer tick.Stop()
	for {
		asked := time.Now()
		last, err := f.Journal.Last(ctx)
		if err != nil {
			f.Log.Debug("ask the journal for its end", "error", err)
		} else {
			position, err := file.Position() // it may have moved since
			if err == nil && last < position {
				err = f.reaches(ctx, position)
			} else if err == nil {
				file.Ended(last, asked)
			}
			if err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
