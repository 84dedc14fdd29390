package client

import (
	"maps"
	"slices"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// advance makes the draft the state of a revision: all of it at once, for every
// reader. c.mu must be held.
func (c *Client) advance(revision uint64, id []byte, d *draft, keys map[string]bool) {
	before := c.state.Load()
	next := d.finish(revision, id, before.slots)
	for key := range keys {
		for _, i := range c.slotsOf[key] {
			if &next.slots[0] == &before.slots[0] {
				next.slots = slices.Clone(before.slots)
			}
			e, set := next.get(key)
			var err error
			next.slots[i], err = c.bound[i].decode(before.slots[i], e, set)
			c.logUnusable(err)
		}
	}
	c.state.Store(next)
	c.have, c.pinned = true, c.pinned || c.opened
	if len(c.subscribers) > 0 {
		maps.Copy(c.changed, keys)
		notify(c.wake)
	}
	if c.moved != nil {
		close(c.moved)
		c.moved = nil
	}
	notify(c.dirty)
}

// pass notes that nothing that the client keeps has changed up to a revision.
func (c *Client) pass(revision uint64, id []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.state.Load(); revision > s.revision {
		c.advance(revision, id, s.draft(), nil)
	}
}

// replace makes the state a gateway's.
func (c *Client) replace(s *stelev1.WatchState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := replaced(s.Entries)
	c.advance(s.Revision, s.Id, d, differences(c.state.Load(), d.finish(s.Revision, s.Id, nil)))
}

// catchUp applies what several commits have led to.
func (c *Client) catchUp(s *stelev1.WatchState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.state.Load()
	if s.Revision <= before.revision {
		return
	}
	d, keys := before.draft(), make(map[string]bool)
	for _, e := range s.Entries {
		d.set(entryOf(e))
		keys[e.Key] = true
	}
	for _, k := range s.Deleted {
		d.delete(k)
		keys[k] = true
	}
	c.advance(s.Revision, s.Id, d, keys)
}

// apply applies one commit, once.
func (c *Client) apply(commit *stelev1.WatchCommit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.state.Load()
	if commit.Revision <= before.revision {
		return
	}
	d, keys := before.draft(), make(map[string]bool)
	for _, ch := range commit.Changes {
		keys[ch.Key] = true
		if ch.Delete {
			d.delete(ch.Key)
			continue
		}
		d.set(Entry{Key: ch.Key, Value: ch.Value, Revision: commit.Revision, Secret: ch.Value == mask, Base: baseOf(ch.Base)})
	}
	c.advance(commit.Revision, commit.Id, d, keys)
}
