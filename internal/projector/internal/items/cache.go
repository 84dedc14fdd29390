// Package items keeps what a sink has read, so that a sweep reads only what has changed.
package items

import (
	"sync"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// maxBytes is how many bytes of names and values a Cache holds at most. Items without
// room are read in every sweep.
const maxBytes = 64 << 20

// Cache holds items as they were last read, each with a stamp that a listing shows, and
// that is another once the item has changed. The zero Cache is empty.
type Cache struct {
	mu    sync.Mutex // guards the fields below
	items map[ledger.Tenant]map[string]stamped
	bytes int
}

type stamped struct {
	projector.Item
	stamp string
}

func (s stamped) size() int { return 2*len(s.Name) + len(s.Value) + len(s.stamp) + 200 }

// Get returns a tenant's item if its stamp is still the same.
func (c *Cache) Get(t ledger.Tenant, name, stamp string) (projector.Item, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	is, ok := c.items[t][name]
	if !ok || is.stamp != stamp {
		return projector.Item{}, false
	}
	return is.Item, true
}

// Add holds an item, if there is room.
func (c *Cache) Add(item projector.Item, stamp string) {
	c.Forget(item.Tenant, item.Name)
	c.mu.Lock()
	defer c.mu.Unlock()
	is := stamped{item, stamp}
	if c.bytes+is.size() > maxBytes {
		return
	}
	if c.items == nil {
		c.items = make(map[ledger.Tenant]map[string]stamped)
	}
	if c.items[item.Tenant] == nil {
		c.items[item.Tenant] = make(map[string]stamped)
	}
	c.items[item.Tenant][item.Name] = is
	c.bytes += is.size()
}

// Forget drops a tenant's item.
func (c *Cache) Forget(t ledger.Tenant, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(t, name)
}

// Keep drops the tenant's items that a complete listing does not have: other programs have
// deleted them.
func (c *Cache) Keep(t ledger.Tenant, listed map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.items[t] {
		if !listed[name] {
			c.drop(t, name)
		}
	}
}

func (c *Cache) drop(t ledger.Tenant, name string) {
	is, ok := c.items[t][name]
	if !ok {
		return
	}
	c.bytes -= is.size()
	if delete(c.items[t], name); len(c.items[t]) == 0 {
		delete(c.items, t)
	}
}
