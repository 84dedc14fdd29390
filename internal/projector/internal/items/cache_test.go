package items

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

func TestCache(t *testing.T) {
	var c Cache
	item := projector.Item{Name: "a", Value: `1`}
	c.Add(item, "one")
	if got, ok := c.Get("a", "one"); !ok || got.Value != `1` {
		t.Errorf("Get: %+v, %v", got, ok)
	}
	if _, ok := c.Get("a", "two"); ok {
		t.Error("Get finds an item whose stamp has changed")
	}
	item.Value = `2`
	c.Add(item, "two")
	if got, ok := c.Get("a", "two"); !ok || got.Value != `2` {
		t.Errorf("Get after a change: %+v, %v", got, ok)
	}
	c.Forget("a")
	c.Forget("a")
	if _, ok := c.Get("a", "two"); ok || c.bytes != 0 {
		t.Errorf("after Forget it holds %d bytes", c.bytes)
	}
}

// A full cache does not add items, and the items that it already holds stay correct.
func TestCache_Full(t *testing.T) {
	var c Cache
	big := ledger.Value(`"` + strings.Repeat("x", 1<<20) + `"`)
	for i := range 100 {
		c.Add(projector.Item{Name: fmt.Sprint(i), Value: big}, "s")
	}
	if c.bytes > maxBytes || len(c.items) < 50 || len(c.items) > 64 {
		t.Errorf("it holds %d items of %d bytes", len(c.items), c.bytes)
	}
	c.Add(projector.Item{Name: "0", Value: `1`}, "t")
	if got, ok := c.Get("0", "t"); !ok || got.Value != `1` {
		t.Errorf("an item that became small: %+v, %v", got, ok)
	}
}
