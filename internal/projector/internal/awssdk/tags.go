package awssdk

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
)

// Tags are put on what a sink writes. "{tenant}" in a value stands for the tenant, so
// that costs and policies can distinguish tenants.
type Tags map[string]string

// Of returns the tags for a tenant's items.
func (g Tags) Of(t ledger.Tenant) map[string]string {
	out := make(map[string]string, len(g))
	for k, v := range g {
		out[k] = strings.ReplaceAll(v, "{tenant}", string(t))
	}
	return out
}

// Keys are in order.
func (g Tags) Keys() []string { return slices.Sorted(maps.Keys(g)) }

// Query is the form that S3 takes tags in.
func (g Tags) Query(t ledger.Tenant) string {
	q := make(url.Values, len(g))
	for k, v := range g.Of(t) {
		q.Set(k, v)
	}
	return q.Encode()
}

// Of tags: https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
const (
	maxTagKey   = 128
	maxTagValue = 256
)

// longestTenant is as long as a tenant's name may be.
var longestTenant = ledger.Tenant(strings.Repeat("t", 63))

// Check reports tags that AWS does not take, of which an item has at most so many.
func (g Tags) Check(most int) error {
	if len(g) > most {
		return fmt.Errorf("tags has %d tags, and AWS allows %d", len(g), most)
	}
	for _, k := range g.Keys() {
		switch v := g.Of(longestTenant)[k]; {
		case k == "" || len(k) > maxTagKey || strings.HasPrefix(strings.ToLower(k), "aws:"):
			return fmt.Errorf("tags has the key %q: a key has 1 to %d characters, and does not begin with \"aws:\"", k, maxTagKey)
		case len(v) > maxTagValue:
			return fmt.Errorf("the tag %s has up to %d characters, and AWS allows %d", k, len(v), maxTagValue)
		case strings.ContainsFunc(k+v, func(r rune) bool { return !tagRune(r) }):
			return fmt.Errorf("the tag %s has characters that AWS does not allow: use letters, digits, spaces and _.:/=+-@", k)
		}
	}
	return nil
}

func tagRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(" _.:/=+-@", r)
}
