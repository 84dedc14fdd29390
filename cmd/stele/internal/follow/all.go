package follow

import (
	"context"
	"fmt"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// AllConfig configures a watch of all tenants.
type AllConfig struct {
	Client stelev1.LedgerClient
	// Gateways is the same as in Config.
	Gateways int
	// After is the position to begin after; nil for new commits only.
	After *uint64

	// Commit receives each commit once, in the order of the journal.
	Commit func(*stelev1.PlacedCommit) error
	// Lost is the same as in Config, for example with "after position 4711".
	Lost func(err error, from string)
}

type allFollower struct {
	AllConfig
	epoch []byte
	last  *stelev1.CommitRef // the last commit up to position After
	// ahead counts the commits after position After that were received: a record may
	// come in several responses.
	ahead int
	// skip counts the commits that a new stream will repeat.
	skip int
}

// All watches all tenants until ctx is done, a callback fails or the gateway refuses. It
// resumes by itself after a lost connection, like Watch.
func All(ctx context.Context, cfg AllConfig) error {
	f := &allFollower{AllConfig: cfg}
	return repeat(ctx, cfg.Gateways, f.once, mayPass, func(err error) { f.Lost(err, f.resume()) })
}

// resume describes where the next stream begins.
func (f *allFollower) resume() string {
	if f.After == nil {
		return ""
	}
	return fmt.Sprintf("after position %d", *f.After)
}

// once watches over one stream, until it ends.
func (f *allFollower) once(ctx context.Context) (created bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := f.Client.WatchAllCommits(ctx, &stelev1.WatchAllCommitsRequest{AfterPosition: f.After, Epoch: f.epoch, Last: f.last})
	if err != nil {
		return false, err
	}
	f.skip = f.ahead
	dog := newWatchdog(cancel)
	defer dog.stop()
	for {
		resp, err := stream.Recv()
		if err = dog.received(err); err != nil {
			return created, err
		}
		created = true
		if err := f.take(resp); err != nil {
			return created, err
		}
	}
}

func (f *allFollower) take(resp *stelev1.WatchAllCommitsResponse) error {
	for _, c := range resp.Commits {
		if f.skip > 0 {
			f.skip--
			continue
		}
		if err := f.Commit(c); err != nil {
			return refused{err}
		}
		f.ahead++
	}
	f.epoch = resp.Epoch
	if f.After != nil && resp.Position <= *f.After {
		return nil
	}
	f.After, f.last, f.ahead = &resp.Position, resp.Last, 0
	for _, c := range resp.Commits {
		if c.Position > resp.Position {
			f.ahead++
		}
	}
	return nil
}
