package client

import (
	"context"
	"maps"
	"slices"
)

// Update is the difference between two states.
type Update struct {
	// Keys are the selected keys that were set or deleted, in their order.
	Keys []string
	// Before is the state of the function's last call, and After the current one:
	// several commits may lie between them.
	Before, After Snapshot
}

// subscriber is a function that is called on changes.
type subscriber struct {
	selects func(key string) bool
	f       func(Update)
	last    *state // after OnChange, used only by the goroutine of callSubscribers
}

// OnChange has f called after each change of a key that the prefix selects, as in
// Config.Prefixes, until stop is called. All functions of a client are called one after
// the other, by one goroutine, in the order of the revisions. A slow function delays
// the others and then gets several commits in one call; it never delays reads, nor the
// client itself. A call may be under way when stop returns. A function must not call
// Close, which waits for it.
func (c *Client) OnChange(prefix string, f func(Update)) (stop func()) {
	return c.onChange(func(key string) bool { return selects(prefix, key) }, f)
}

func (c *Client) onChange(selected func(string) bool, f func(Update)) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sub := &subscriber{selects: selected, f: f, last: c.state.Load()}
	c.subscribers = append(slices.Clip(c.subscribers), sub)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.subscribers = slices.DeleteFunc(slices.Clone(c.subscribers), func(s *subscriber) bool { return s == sub })
	}
}

// callSubscribers calls the subscribers on changes until ctx ends.
func (c *Client) callSubscribers(ctx context.Context) {
	for {
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		keys, now, subscribers := c.changed, c.state.Load(), c.subscribers
		c.changed = make(map[string]bool)
		c.mu.Unlock()
		sorted := slices.Sorted(maps.Keys(keys))
		for _, s := range subscribers {
			if ctx.Err() == nil {
				s.call(sorted, now)
			}
		}
	}
}

func (s *subscriber) call(keys []string, now *state) {
	u := Update{Before: Snapshot{s.last}, After: Snapshot{now}}
	for _, k := range keys {
		if !s.selects(k) {
			continue
		}
		before, was := s.last.get(k)
		after, is := now.get(k)
		if was != is || before != after {
			u.Keys = append(u.Keys, k)
		}
	}
	s.last = now
	if len(u.Keys) > 0 {
		s.f(u)
	}
}
