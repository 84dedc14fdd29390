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
	item := projector.Item{Tenant: "acme", Name: "a", Value: `1`}
	c.Add(item, "one")
	if got, ok := c.Get("acme", "a", "one"); !ok || got.Value != `1` {
		t.Errorf("Get: %+v, %v", got, ok)
	}
	if _, ok := c.Get("acme", "a", "two"); ok {
		t.Error("Get finds an item whose stamp has changed")
	}
	item.Value = `2`
	c.Add(item, "two")
	if got, ok := c.Get("acme", "a", "two"); !ok || got.Value != `2` {
		t.Errorf("Get after a change: %+v, %v", got, ok)
	}
	c.Forget("acme", "a")
	c.Forget("acme", "a")
	if _, ok := c.Get("acme", "a", "two"); ok || c.bytes != 0 {
		t.Errorf("after Forget it holds %d bytes", c.bytes)
	}
}

// A full cache does not add items, and the items that it already holds stay correct.
func TestCache_Full(t *testing.T) {
	var c Cache
	big := ledger.Value(`"` + strings.Repeat("x", 1<<20) + `"`)
	for i := range 100 {
		c.Add(projector.Item{Tenant: "acme", Name: fmt.Sprint(i), Value: big}, "s")
	}
	if c.bytes > maxBytes || len(c.items["acme"]) < 50 || len(c.items["acme"]) > 64 {
		t.Errorf("it holds %d items of %d bytes", len(c.items["acme"]), c.bytes)
	}
	c.Add(projector.Item{Tenant: "acme", Name: "0", Value: `1`}, "t")
	if got, ok := c.Get("acme", "0", "t"); !ok || got.Value != `1` {
		t.Errorf("an item that became small: %+v, %v", got, ok)
	}
}

// Items that other programs have deleted make room, and other tenants' items stay.
func TestCache_Keep(t *testing.T) {
	var c Cache
	for _, tenant := range []ledger.Tenant{"acme", "globex"} {
		for _, name := range []string{"a", "b"} {
			c.Add(projector.Item{Tenant: tenant, Name: string(tenant) + "/" + name, Value: `1`}, "s")
		}
	}
	c.Keep("acme", map[string]bool{"acme/b": true})
	for name, kept := range map[string]bool{"acme/a": false, "acme/b": true, "globex/a": true, "globex/b": true} {
		tenant, _, _ := strings.Cut(name, "/")
		if _, ok := c.Get(ledger.Tenant(tenant), name, "s"); ok != kept {
			t.Errorf("%s is kept: %t, want %t", name, ok, kept)
		}
	}
	c.Keep("globex", nil)
	if c.Keep("acme", nil); len(c.items) != 0 || c.bytes != 0 {
		t.Errorf("it holds %d bytes of %d tenants, although all were deleted", c.bytes, len(c.items))
	}
}
