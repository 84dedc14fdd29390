package s3

import (
	"sync"
	"time"

	"github.com/stelehq/stele/projector"
)

// maxCached is how many bytes of names and values the cache holds at most. What has no
// room is read in every sweep.
const maxCached = 64 << 20

// cache holds objects as they were last read, so that a sweep reads only what a listing
// says has changed.
type cache struct {
	mu    sync.Mutex // guards the fields below
	items map[string]cached
	bytes int
}

type cached struct {
	projector.Item
	modified time.Time // to the second, as listings have it
}

func (c cached) size() int { return 2*len(c.Name) + len(c.Value) + 200 }

// get returns an object whose listing is the same as when it was read.
func (c *cache) get(name, etag string, modified time.Time) (projector.Item, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	is, ok := c.items[name]
	if !ok || is.State.(state).etag != etag || !is.modified.Equal(modified.Truncate(time.Second)) {
		return projector.Item{}, false
	}
	return is.Item, true
}

func (c *cache) add(item projector.Item, modified time.Time) {
	c.forget(item.Name)
	c.mu.Lock()
	defer c.mu.Unlock()
	is := cached{item, modified.Truncate(time.Second)}
	if c.bytes+is.size() > maxCached {
		return
	}
	if c.items == nil {
		c.items = make(map[string]cached)
	}
	c.items[item.Name] = is
	c.bytes += is.size()
}

func (c *cache) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if is, ok := c.items[name]; ok {
		delete(c.items, name)
		c.bytes -= is.size()
	}
}
