package gateway

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stelehq/stele/ledger"
	"github.com/stelehq/stele/ledger/replica"
)

// hub hands every commit to the watches that select it.
//
// Watches with the same selector form a group: a commit is matched and encoded
// once a group, and each stream of the group sends those bytes under a head of
// its own, which names the stream's watches. Handing over never blocks: a
// stream has a bounded backlog, and a watch that would overflow it leaves the
// hub (or, when it asked for that, is reduced to the newest state of each key).
type hub struct {
	replica *replica.Replica
	shown   func(*ledger.Commit) *ledger.Commit // as its watches get it
	// ruled is called when a commit of the ledger's own tenant arrives: it may change
	// the permissions of a stream's caller.
	ruled func()

	watches, slow atomic.Int64 // for metrics

	mu     sync.Mutex // guards topics and all below them
	topics map[ledger.Tenant]*topic
}

// topic is one tenant that is watched.
type topic struct {
	// head is the last commit that was handed over.
	head     ledger.Revision
	groups   map[string]*group
	keys     map[ledger.Key]map[*group]bool
	prefixes map[ledger.Prefix]map[*group]bool
	// lengths counts the prefixes of each length, so that matching a key looks
	// up only the prefixes that can be there.
	lengths map[int]int
	streams map[*watchStream]int // how many of its watches are here
}

// group is all watches of one selector.
type group struct {
	selector selector
	streams  map[*watchStream]*membership
}

// membership is one stream's watches in one group.
type membership struct {
	watches []*watch
	// head is the encoded ids, as long as all of them need the same commits.
	head []byte
	// until is the newest revision that some watch already has from elsewhere.
	until ledger.Revision
}

func newHub(r *replica.Replica, shown func(*ledger.Commit) *ledger.Commit, ruled func()) *hub {
	return &hub{replica: r, shown: shown, ruled: ruled, topics: make(map[ledger.Tenant]*topic)}
}

// progressInterval is how often streams get their progress.
const progressInterval = 10 * time.Second

// run hands over commits until ctx ends.
func (h *hub) run(ctx context.Context) {
	feed := h.replica.Feed()
	defer feed.Close()
	done := make(chan struct{})
	defer func() { <-done }()
	go func() {
		defer close(done)
		tick := time.NewTicker(progressInterval)
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

// join makes the watch live, if the hub has handed over nothing that the watch
// has not got: after is the last revision that it has.
func (h *hub) join(w *watch, after ledger.Revision) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[w.stream.tenant]
	if t == nil {
		t = &topic{
			// Commits up to here may still be in the feed: no watch waits for them.
			head:     h.replica.Head(w.stream.tenant).Revision,
			groups:   make(map[string]*group),
			keys:     make(map[ledger.Key]map[*group]bool),
			prefixes: make(map[ledger.Prefix]map[*group]bool),
			lengths:  make(map[int]int),
			streams:  make(map[*watchStream]int),
		}
		h.topics[w.stream.tenant] = t
	}
	if after < t.head {
		if len(t.streams) == 0 {
			delete(h.topics, w.stream.tenant)
		}
		return false
	}
	name := w.selector.String()
	g := t.groups[name]
	if g == nil {
		g = &group{selector: w.selector, streams: make(map[*watchStream]*membership)}
		t.groups[name] = g
		t.index(g)
	}
	m := g.streams[w.stream]
	if m == nil {
		m = &membership{}
		g.streams[w.stream] = m
	}
	w.after, w.group = after, g
	m.watches = append(m.watches, w)
	m.until = max(m.until, after)
	m.head = nil
	t.streams[w.stream]++
	h.watches.Add(1)
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

// leave takes a live watch out.
func (h *hub) leave(w *watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(w)
}

// remove must be called with h.mu held.
func (h *hub) remove(w *watch) {
	g := w.group
	if g == nil {
		return
	}
	w.group = nil
	h.watches.Add(-1)
	t := h.topics[w.stream.tenant]
	if t.streams[w.stream]--; t.streams[w.stream] == 0 {
		delete(t.streams, w.stream)
	}
	m := g.streams[w.stream]
	m.head = nil
	if m.watches = slices.DeleteFunc(m.watches, func(o *watch) bool { return o == w }); len(m.watches) > 0 {
		return
	}
	if delete(g.streams, w.stream); len(g.streams) > 0 {
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
		delete(h.topics, w.stream.tenant)
	}
}

// dispatch hands a commit over.
func (h *hub) dispatch(c *ledger.Commit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[c.Tenant]
	if t == nil || c.Revision <= t.head {
		return
	}
	t.head = c.Revision
	c = h.shown(c)
	for g := range t.matches(c) {
		body := g.selector.encode(c)
		for s, m := range g.streams {
			for _, w := range s.hand(m, c, body) {
				h.slow.Add(1)
				h.remove(w)
				s.cancelSlow(w, c)
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
func (h *hub) progressAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.topics {
		for s := range t.streams {
			s.progress(h.replica, t.head)
		}
	}
}

// progress sends one stream its progress.
func (h *hub) progress(s *watchStream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.topics[s.tenant]; t != nil {
		s.progress(h.replica, t.head)
	}
}
