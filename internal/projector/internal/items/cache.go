// Package items keeps what a sink has read, so that a sweep reads only what has changed.
package items

import (
	"sync"

	"github.com/stelehq/stele/internal/projector"
)

// maxBytes is how many bytes of names and values a Cache holds at most. Items without
// room are read in every sweep.
const maxBytes = 64 << 20

// Cache holds items as they were last read, each with a stamp that a listing shows, and
// that is another once the item has changed. The zero Cache is empty.
type Cache struct {
	mu    sync.Mutex // guards the fields below
	items map[string]stamped
	bytes int
}

type stamped struct {
	projector.Item
	stamp string
}

func (s stamped) size() int { return 2*len(s.Name) + len(s.Value) + len(s.stamp) + 200 }

// Get returns the item of a name if its stamp is still the same.
func (c *Cache) Get(name, stamp string) (projector.Item, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	is, ok := c.items[name]
	if !ok || is.stamp != stamp {
		return projector.Item{}, false
	}
	return is.Item, true
}

// Add holds an item, if there is room.
func (c *Cache) Add(item projector.Item, stamp string) {
	c.Forget(item.Name)
	c.mu.Lock()
	defer c.mu.Unlock()
	is := stamped{item, stamp}
	if c.bytes+is.size() > maxBytes {
		return
	}
	if c.items == nil {
		c.items = make(map[string]stamped)
	}
	c.items[item.Name] = is
	c.bytes += is.size()
}

// Forget drops the item of a name.
func (c *Cache) Forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if is, ok := c.items[name]; ok {
		delete(c.items, name)
		c.bytes -= is.size()
	}
}
