package replica

import (
	"context"
	"sync"

	"github.com/stelehq/stele/internal/ledger"
)

// Feed hands out commits as they become visible, each tenant's in order. What happened before
// the feed was made is not in it, unless the replica's file is rebuilt: then the feed hands out
// the whole history, also what it has handed out before.
type Feed struct {
	feeds   *feeds
	mu      sync.Mutex
	waiting []*ledger.Commit
	closed  bool
	signal  chan struct{} // holds one token while something waits
}

// Feed starts a feed. Close it, or unread changes accumulate.
func (r *Replica) Feed() *Feed {
	f := &Feed{feeds: &r.feeds, signal: make(chan struct{}, 1)}
	r.feeds.mu.Lock()
	defer r.feeds.mu.Unlock()
	if r.feeds.all == nil {
		r.feeds.all = make(map[*Feed]bool)
	}
	r.feeds.all[f] = true
	return f
}

// Next returns all that waits, at least one commit, or nothing when the feed is
// closed or ctx ends.
func (f *Feed) Next(ctx context.Context) []*ledger.Commit {
	for {
		f.mu.Lock()
		got := f.waiting
		f.waiting = nil
		closed := f.closed
		f.mu.Unlock()
		if len(got) > 0 || closed {
			return got
		}
		select {
		case <-f.signal:
		case <-ctx.Done():
			return nil
		}
	}
}

// Close ends the feed.
func (f *Feed) Close() {
	f.feeds.mu.Lock()
	delete(f.feeds.all, f)
	f.feeds.mu.Unlock()
	f.end()
}

func (f *Feed) push(commits []*ledger.Commit) {
	f.mu.Lock()
	f.waiting = append(f.waiting, commits...)
	f.mu.Unlock()
	f.wake()
}

func (f *Feed) end() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.wake()
}

func (f *Feed) wake() {
	select {
	case f.signal <- struct{}{}:
	default:
	}
}

// feeds are a replica's feeds. The goroutine that applies commits holds mu from before
// they become visible until they are pushed.
type feeds struct {
	mu  sync.Mutex
	all map[*Feed]bool
}

// push must be called with mu held.
func (fs *feeds) push(commits []*ledger.Commit) {
	if len(commits) == 0 {
		return
	}
	for f := range fs.all {
		f.push(commits)
	}
}

func (fs *feeds) close() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for f := range fs.all {
		f.end()
	}
	fs.all = nil
}
