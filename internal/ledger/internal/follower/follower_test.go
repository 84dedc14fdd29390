package follower

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/internal/boltfile"
	"github.com/stelehq/stele/internal/ledger/journal"
)

// empty is a journal without messages.
type empty struct{}

func (empty) Epoch() ledger.Epoch                           { return ledger.Epoch{} }
func (empty) Last(context.Context) (ledger.Sequence, error) { return 0, nil }

func (empty) Read(context.Context, ledger.Sequence) (journal.Message, error) {
	return journal.Message{}, journal.ErrNoMessage
}

func (empty) Follow(ctx context.Context, _ journal.Message, _ func(journal.Message) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// file is an empty file that may be damaged.
type file struct{ damage error }

func (file) Position() (ledger.Sequence, error)            { return 0, nil }
func (file) Same(journal.Message) error                    { return nil }
func (file) Compared(ledger.Sequence)                      {}
func (file) Handle(context.Context, journal.Message) error { return nil }
func (file) Ended(ledger.Sequence, time.Time)              {}
func (file) Recheck(context.Context) error                 { return nil }

func (f file) Run(ctx context.Context) error {
	if f.damage == nil {
		<-ctx.Done()
	}
	return f.damage
}

// TestFollower_RebuildIsRetried rebuilds a file on a disk that is full for a while.
func TestFollower_RebuildIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		current, begun := file{damage: boltfile.ErrDamaged}, time.Now()
		var tries []time.Duration
		f := &Follower{
			Name: "replica", Journal: empty{}, Log: slog.New(slog.DiscardHandler), Interval: time.Second, RewindGrace: time.Minute,
			File: func() File { return current },
			Rebuild: func(why error) error {
				if !errors.Is(why, boltfile.ErrDamaged) {
					t.Errorf("the reason is %v", why)
				}
				if tries = append(tries, time.Since(begun)); len(tries) < 4 {
					return syscall.ENOSPC
				}
				current = file{}
				return nil
			},
			Stop: func(why error) { t.Errorf("stopped: %v", why) },
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		f.Run(ctx)
		if len(tries) != 4 || tries[3] != 3*time.Second {
			t.Errorf("tried to rebuild after %v, want 4 times, once a second", tries)
		}
	})
}
