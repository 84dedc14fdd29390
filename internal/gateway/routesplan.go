package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/ledger/secret"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// PlanRoutes counts the keys of each sink that other routes concern, and the values in plain
// text of keys that they make secret. It looks at every key of every tenant that this gateway
// holds, and at the history of keys under prefixes that become secret.
func (s sinksService) PlanRoutes(ctx context.Context, req *stelev1.PlanRoutesRequest) (*stelev1.PlanRoutesResponse, error) {
	now, rev, err := s.g.routes()
	if err != nil {
		return nil, err
	}
	next, err := routes.Parse([]byte(req.Routes))
	if err == nil && s.g.cfg.CheckRoutes != nil {
		err = s.g.cfg.CheckRoutes(next)
	}
	if err != nil {
		return nil, ledger.Invalid("routes", fmt.Sprintf("%s: %v", routes.Key, err))
	}
	p := newRoutesPlan(now, next)
	for _, h := range s.g.cfg.Replica.Heads("") {
		if h.Tenant.Reserved() {
			continue
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := p.count(ctx, s.g.cfg.Replica, h.Tenant); err != nil {
			return nil, fmt.Errorf("plan the routes for %s: %w", h.Tenant, err)
		}
	}
	return &stelev1.PlanRoutesResponse{
		Sinks: p.changed(), Revision: uint64(rev), ExposedKeys: p.exposedKeys, ExposedValues: p.exposedValues,
	}, nil
}

// routesPlan compares the routes in force with others.
type routesPlan struct {
	now, next *routes.Table
	sinks     map[string]*stelev1.SinkPlan
	// rewritten are the sinks whose settings or routes differ: they are written again.
	rewritten map[string]bool
	// exposedKeys become secret, and exposedValues of them are in plain text.
	exposedKeys, exposedValues uint64
}

func newRoutesPlan(now, next *routes.Table) *routesPlan {
	p := &routesPlan{now: now, next: next, sinks: make(map[string]*stelev1.SinkPlan), rewritten: make(map[string]bool)}
	for name, sink := range now.Sinks {
		_, stays := next.Sinks[name]
		p.sinks[name] = &stelev1.SinkPlan{Sink: name, Kind: sink.Kind, Removed: !stays}
		p.rewritten[name] = stays && now.Routing(name) != next.Routing(name)
	}
	for name, sink := range next.Sinks {
		if p.sinks[name] == nil {
			p.sinks[name] = &stelev1.SinkPlan{Sink: name, Kind: sink.Kind}
		}
	}
	return p
}

// count adds the tenant's keys.
func (p *routesPlan) count(ctx context.Context, r *replica.Replica, t ledger.Tenant) error {
	v, err := r.View(t, replica.At{})
	if err != nil {
		return err
	}
	defer v.Close()
	if err := p.countExposed(ctx, v); err != nil {
		return err
	}
	for e, err := range v.Keys("", "") {
		if err != nil {
			return err
		}
		was, will := p.now.Route(e.Key), p.next.Route(e.Key)
		if was != nil {
			for _, name := range was.Sinks {
				switch {
				case !will.Wants(name):
					p.sinks[name].Unrouted++
				case p.rewritten[name]:
					p.sinks[name].Rewritten++
				}
			}
		}
		if will != nil {
			for _, name := range will.Sinks {
				if !was.Wants(name) {
					p.sinks[name].Added++
				}
			}
		}
	}
	return nil
}

// countExposed adds the values in plain text of keys that become secret.
func (p *routesPlan) countExposed(ctx context.Context, v *replica.View) error {
	same := func(a, b *routes.Route) bool { return a.Prefix == b.Prefix && a.Secret == b.Secret }
	for _, r := range p.next.Routes() {
		// The routes that share keys with r decide about the keys of r.
		near := func(t *routes.Table) []*routes.Route {
			return slices.DeleteFunc(slices.Clone(t.Routes()), func(o *routes.Route) bool {
				return !o.Prefix.Covers(r.Prefix) && !r.Prefix.Covers(o.Prefix)
			})
		}
		if !r.Secret || slices.EqualFunc(near(p.now), near(p.next), same) {
			continue // before any history is read
		}
		keys := make(map[ledger.Key]bool)
		q := replica.Query{Names: r.Prefix.Names()}
		for q.From = v.Head().Revision; q.From > 0; {
			log := v.Log(q)
			for c, err := range log.All() {
				if err := errors.Join(err, ctx.Err()); err != nil {
					return err
				}
				for _, ch := range c.Changes {
					if q.Match(ch) && !ch.Delete && !secret.Sealed(ch.Value) && p.next.Route(ch.Key) == r && !p.now.Secret(ch.Key) {
						keys[ch.Key] = true
						p.exposedValues++
					}
				}
			}
			q.From = log.Next()
		}
		p.exposedKeys += uint64(len(keys))
	}
	return nil
}

// changed are the sinks that differ, by name.
func (p *routesPlan) changed() (out []*stelev1.SinkPlan) {
	for _, name := range slices.Sorted(maps.Keys(p.sinks)) {
		if s := p.sinks[name]; s.Removed || s.Added+s.Unrouted+s.Rewritten > 0 {
			out = append(out, s)
		}
	}
	return out
}

// maxUnrouted is how many keys without a route are named.
const maxUnrouted = 5

// unrouted counts the tenant's keys without a route, and names the first whose reads
// are not recorded: a status request must not be recorded for it. Keys that the caller
// may not read are left out. Without sinks, the count is 0.
func (s ledgerService) unrouted(c Caller) (n uint64, first []string, err error) {
	g, t := s.g, c.Tenant
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
