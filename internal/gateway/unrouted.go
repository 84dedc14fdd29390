package gateway

import (
	"fmt"

	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// maxUnrouted is how many keys without a route are named.
const maxUnrouted = 5

// unrouted counts the tenant's keys without a route, and names the first whose reads
// are not recorded: a status request must not be recorded for it. Keys that the caller
// may not read are left out. Without sinks, the count is 0.
func (g *Gateway) unrouted(c Caller) (n uint64, first []string, err error) {
	t := c.Tenant
	table, _, err := g.routes()
	if err != nil || len(table.Sinks) == 0 || t.Reserved() {
		return 0, nil, err
	}
	recorded, err := g.policy.RecordedBy(t)
	if err != nil {
		return 0, nil, err
	}
	sees, err := g.policy.Scope(c, policy.ToRead)
	if err != nil {
		return 0, nil, err
	}
	v, err := g.cfg.Replica.View(t, replica.At{})
	if err != nil {
		return 0, nil, err
	}
	defer v.Close()
	for from, more := ledger.Key(""), true; more; {
		more = false
		for e, err := range v.Keys("", from) {
			if err != nil {
				return 0, nil, fmt.Errorf("look for keys without a route: %w", err)
			}
			if r := table.Route(e.Key); r != nil {
				key, below := r.Prefix.Split()
				if e.Key == key {
					continue
				}
				from, more = ledger.Key(below)+"\x7f", true // no byte of a key is as large
				break
			}
			if e.Key.Reserved() || !sees.Key(e.Key) {
				continue
			}
			if n++; len(first) < maxUnrouted && (policy.Asked{Keys: []string{string(e.Key)}}).Under(recorded).Nothing() {
				first = append(first, string(e.Key))
			}
		}
	}
	return n, first, nil
}
