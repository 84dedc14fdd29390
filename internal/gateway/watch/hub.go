// Package watch delivers commits to watches: the hub matches and encodes a commit once per
// selector, and each stream has a bounded backlog. Backpressure of a slow stream never
// reaches the hub: a watch that would overflow its backlog is canceled or compacted.
package watch

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stelehq/stele/internal/budget"
	"github.com/stelehq/stele/internal/gateway/redact"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"google.golang.org/grpc/status"
)

// Hub delivers every commit to the watches that select it.
//
// Watches with the same selector form a group: a commit is matched and encoded once per group,
// and each stream of the group sends the same bytes after a head of its own, which names the
// stream's watches. Delivery never blocks: a stream has a bounded backlog, and all streams share
// the memory for answers. A watch that would overflow one of them is canceled or, if it asked for
// that, gets only the newest state of each key.
type Hub struct {
	replica  *replica.Replica
	redactor func() redact.Redactor // of what watches get
	// ruled is called when a commit of the ledger's own tenant arrives: it may change
	// the permissions of a stream's caller.
	ruled   func()
	failed  func(error) *status.Status
	answers *budget.Share

	Watches, Slow atomic.Int64 // for metrics

	mu     sync.Mutex // guards topics and all below them
	topics map[ledger.Tenant]*topic
}

// topic is one tenant that is watched.
type topic struct {
	// head is the last commit that was delivered.
	head     ledger.Revision
	groups   map[string]*group
	keys     map[ledger.Key]map[*group]bool
	prefixes map[ledger.Prefix]map[*group]bool
	// lengths counts the prefixes of each length, so that matching a key looks up only
	// prefixes of these lengths.
	lengths map[int]int
	streams map[*Stream]int // how many of its watches are here
}

// group is all watches of one selector.
type group struct {
	selector Selector
	streams  map[*Stream]*membership
}

// membership is one stream's watches in one group.
type membership struct {
	watches []*Watch
	// head is the encoded ids, while all of them get the same commits.
	head []byte
	// until is the newest revision that some watch already has from elsewhere.
	until ledger.Revision
}

// NewHub makes a hub of the replica's commits. redactor returns the redactor of live commits;
// ruled is called after each commit of the ledger's own tenant; failed maps an error to the status
// of the watches that it ends; answers is the memory for queued messages.
func NewHub(r *replica.Replica, answers *budget.Share, redactor func() redact.Redactor, ruled func(), failed func(error) *status.Status) *Hub {
	return &Hub{replica: r, answers: answers, redactor: redactor, ruled: ruled, failed: failed, topics: make(map[ledger.Tenant]*topic)}
}

// ProgressInterval is how often streams get their progress.
const ProgressInterval = 10 * time.Second

// Run delivers commits until ctx ends.
func (h *Hub) Run(ctx context.Context) {
	feed := h.replica.Feed()
	defer feed.Close()
	done := make(chan struct{})
	defer func() { <-done }()
	go func() {
		defer close(done)
		tick := time.NewTicker(ProgressInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				h.progressAll()
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		commits := feed.Next(ctx)
		if len(commits) == 0 {
			return
		}
		for _, c := range commits {
			if c.Tenant == ledger.System {
				h.ruled()
			}
			h.dispatch(c)
		}
	}
}

// Join makes the watch live, if the hub has delivered no commit that the watch lacks: after is
// the last revision that the watch has.
func (h *Hub) Join(w *Watch, after ledger.Revision) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[w.Stream.Tenant]
	if t == nil {
		t = &topic{
			// Commits up to here may still be in the feed: no watch waits for them.
			head:     h.replica.Head(w.Stream.Tenant).Revision,
			groups:   make(map[string]*group),
			keys:     make(map[ledger.Key]map[*group]bool),
			prefixes: make(map[ledger.Prefix]map[*group]bool),
			lengths:  make(map[int]int),
			streams:  make(map[*Stream]int),
		}
		h.topics[w.Stream.Tenant] = t
	}
	if after < t.head {
		if len(t.streams) == 0 {
			delete(h.topics, w.Stream.Tenant)
		}
		return false
	}
	name := w.Selector.String()
	g := t.groups[name]
	if g == nil {
		g = &group{selector: w.Selector, streams: make(map[*Stream]*membership)}
		t.groups[name] = g
		t.index(g)
	}
	m := g.streams[w.Stream]
	if m == nil {
		m = &membership{}
		g.streams[w.Stream] = m
	}
	w.after, w.group = after, g
	m.watches = append(m.watches, w)
	m.until = max(m.until, after)
	m.head = nil
	t.streams[w.Stream]++
	h.Watches.Add(1)
	return true
}

func (t *topic) index(g *group) {
	for _, k := range g.selector.keys {
		if t.keys[k] == nil {
			t.keys[k] = make(map[*group]bool)
		}
		t.keys[k][g] = true
	}
	for _, p := range g.selector.prefixes {
		if t.prefixes[p] == nil {
			t.prefixes[p] = make(map[*group]bool)
			t.lengths[len(p)]++
		}
		t.prefixes[p][g] = true
	}
}

// Leave removes a live watch.
func (h *Hub) Leave(w *Watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(w)
}

// remove must be called with h.mu held.
func (h *Hub) remove(w *Watch) {
	g := w.group
	if g == nil {
		return
	}
	w.group = nil
	h.Watches.Add(-1)
	t := h.topics[w.Stream.Tenant]
	if t.streams[w.Stream]--; t.streams[w.Stream] == 0 {
		delete(t.streams, w.Stream)
	}
	m := g.streams[w.Stream]
	m.head = nil
	if m.watches = slices.DeleteFunc(m.watches, func(o *Watch) bool { return o == w }); len(m.watches) > 0 {
		return
	}
	if delete(g.streams, w.Stream); len(g.streams) > 0 {
		return
	}
	delete(t.groups, g.selector.String())
	for _, k := range g.selector.keys {
		if delete(t.keys[k], g); len(t.keys[k]) == 0 {
			delete(t.keys, k)
		}
	}
	for _, p := range g.selector.prefixes {
		if delete(t.prefixes[p], g); len(t.prefixes[p]) == 0 {
			delete(t.prefixes, p)
			if t.lengths[len(p)]--; t.lengths[len(p)] == 0 {
				delete(t.lengths, len(p))
			}
		}
	}
	if len(t.groups) == 0 {
		delete(h.topics, w.Stream.Tenant)
	}
}

// dispatch delivers a commit.
func (h *Hub) dispatch(c *ledger.Commit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[c.Tenant]
	if t == nil || c.Revision <= t.head {
		return
	}
	t.head = c.Revision
	seen, err := h.replica.EffectiveCommit(c)
	if err != nil {
		t.cancel(h, c, err)
		return
	}
	c = h.redactor().Commit(seen)
	for g := range t.matches(c) {
		bodies, fits := acquire(h.answers, g.selector.Encode(c))
		for s, m := range g.streams {
			for _, w := range s.deliver(m, c, bodies, fits) {
				h.Slow.Add(1)
				h.remove(w)
				s.cancelSlow(w, c, fits)
			}
		}
		release(bodies)
	}
}

// cancel ends all watches of the topic at a commit that cannot be read. h.mu is held.
func (t *topic) cancel(h *Hub, c *ledger.Commit, err error) {
	for _, g := range t.groups {
		for s, m := range g.streams {
			for _, w := range slices.Clone(m.watches) {
				if w.after < c.Revision {
					h.remove(w)
					s.Forget(w.ID)
					s.Canceled(w.ID, h.failed(err), nil)
				}
			}
		}
	}
}

// matches finds the groups that select some change of the commit.
func (t *topic) matches(c *ledger.Commit) map[*group]bool {
	found := make(map[*group]bool)
	for _, ch := range c.Changes {
		for g := range t.keys[ch.Key] {
			found[g] = true
		}
		for n := range t.lengths {
			if n <= len(ch.Key) {
				for g := range t.prefixes[ledger.Prefix(ch.Key[:n])] {
					found[g] = true
				}
			}
		}
		if len(found) == len(t.groups) {
			break
		}
	}
	return found
}

// progressAll sends every stream its progress.
func (h *Hub) progressAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.topics {
		for s := range t.streams {
			s.progress(h.replica, t.head)
		}
	}
}

// Progress sends one stream its progress.
func (h *Hub) Progress(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.topics[s.Tenant]; t != nil {
		s.progress(h.replica, t.head)
	}
}
