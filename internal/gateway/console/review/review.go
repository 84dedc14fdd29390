// Package review shows what a change set would do before it is committed: the values that
// differ, the schemas that they were checked against, and the sinks that follow.
package review

import (
	"context"
	"slices"

	"github.com/stelehq/stele/internal/gateway/console/diff"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/schema"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Review is what a change set would do.
type Review struct {
	Effects
	// Changes are the keys whose values would differ, at most diff.OnPage of them.
	Changes []diff.Change
	Total   int
}

// Effects are the parts of the system that react to changes of some keys. The parts that
// the user may not see, or that failed to answer, are not known.
type Effects struct {
	schemas      []*stelev1.Schema // that apply to the keys
	schemasKnown bool
	sets         int // keys of schemas
	notChecked   uint64
	sinks        []sinkKeys
	routed       bool // the sinks are those of the keys' routes, not all of the tenant
	sinksKnown   bool
	refusals     []*stelev1.SinkRefusal
	// reach is how the changes reach the tenants that inherit from this one. Only operators can
	// see it.
	reach *stelev1.PreviewBaseChangeResponse
}

// overriding counts the tenants that hide some of the changes. More is true if there are more
// tenants than it has looked at.
func (e Effects) overriding() (n int, more bool) {
	for _, t := range e.reach.GetTenants() {
		if t.HiddenTotal > 0 {
			n++
		}
	}
	return n, e.reach.GetNextPageToken() != ""
}

const (
	maxReachChanges = 10_000 // that a preview of a base's changes accepts
	maxReachTenants = 1_000  // that it looks at in one answer
)

// sinkKeys is how many of the keys a sink gets.
type sinkKeys struct {
	name string
	keys int
}

// Plan plans a change set. Its errors are those that committing it would have.
func Plan(ctx context.Context, v *page.View, req *stelev1.CommitRequest) (*Review, error) {
	resp, err := v.Ledger.Plan(ctx, &stelev1.PlanRequest{Commit: req})
	if err != nil {
		return nil, err
	}
	r := &Review{Total: len(resp.Diffs)}
	changed := make([]*stelev1.Change, len(resp.Diffs))
	for i, d := range resp.Diffs {
		if changed[i] = (&stelev1.Change{Key: d.Key}); i < diff.OnPage {
			r.Changes = append(r.Changes, diff.OfKey(d))
		}
	}
	r.Effects = effectsOf(ctx, v, changed, resp)
	return r, nil
}

// preview is what the gateway answers about changes that are not made yet.
type preview interface {
	GetNotChecked() uint64
	GetRefusals() []*stelev1.SinkRefusal
}

// EffectsOf returns the effects of a rollback or a revert.
func EffectsOf(ctx context.Context, v *page.View, p interface {
	preview
	GetChanges() []*stelev1.Change
}) Effects {
	return effectsOf(ctx, v, p.GetChanges(), p)
}

func effectsOf(ctx context.Context, v *page.View, changes []*stelev1.Change, p preview) Effects {
	e := Effects{notChecked: p.GetNotChecked(), refusals: p.GetRefusals()}
	var schemas *stelev1.ListSchemasResponse
	var sinks *stelev1.ListSinksResponse
	var routing Routing
	page.Together(ctx, func(ctx context.Context) error {
		schemas, _ = v.Schemas.ListSchemas(ctx, &stelev1.ListSchemasRequest{})
		return nil
	}, func(ctx context.Context) error {
		sinks, _ = v.Sinks.ListSinks(ctx, &stelev1.ListSinksRequest{})
		return nil
	}, func(ctx context.Context) error {
		routing = ReadRouting(ctx, v)
		return nil
	}, func(ctx context.Context) error {
		e.reach = reachOf(ctx, v, changes)
		return nil
	})
	e.schemasKnown, e.sinksKnown, e.routed = schemas != nil, sinks != nil, routing.Known()
	for _, s := range schemas.GetSchemas() {
		if slices.ContainsFunc(changes, func(c *stelev1.Change) bool { return ledger.Pattern(s.Prefix).Match(ledger.Key(c.Key)) }) {
			e.schemas = append(e.schemas, s)
		}
	}
	for _, c := range changes {
		if ledger.Pattern(schema.Tag).Match(ledger.Key(c.Key)) {
			e.sets++
		}
	}
	for _, s := range sinks.GetSinks() {
		n := 0
		for _, c := range changes {
			if routing.Wants(c.Key, s.Name) {
				n++
			}
		}
		if n > 0 {
			e.sinks = append(e.sinks, sinkKeys{s.Name, n})
		}
	}
	return e
}

// reachOf asks how changes reach the tenants that inherit from this one. It is nil for users who are not
// operators.
func reachOf(ctx context.Context, v *page.View, changes []*stelev1.Change) *stelev1.PreviewBaseChangeResponse {
	if len(changes) == 0 || len(changes) > maxReachChanges {
		return nil
	}
	req := &stelev1.PreviewBaseChangeRequest{PageSize: maxReachTenants}
	for _, c := range changes {
		req.Changes = append(req.Changes, &stelev1.Change{Key: c.Key, Delete: true}) // only keys count
	}
	reach, _ := v.Bases.PreviewBaseChange(ctx, req)
	return reach
}
